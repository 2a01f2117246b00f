// Shows what the event stream of the panel sends, while the page is looked at.
'use strict';
(() => {
  const line = document.getElementById('live'), now = document.getElementById('now');
  const again = 3000; // ms until a stream that was refused is asked for again
  let stream, timer, waiting, over = false;

  // Texts of one line each: a button that moves is missed.
  const say = (on, text) => {
    line.firstElementChild.className = on ? 'lamp on' : 'lamp off';
    line.lastElementChild.textContent = text;
  };

  // What somebody opened stays open, and nothing goes from under the focus.
  const show = html => {
    if (now.contains(document.activeElement)) {
      waiting = html;
      return;
    }
    waiting = undefined;
    const titles = (e => Array.from(e, d => d.firstElementChild.textContent))(now.querySelectorAll('details[open]'));
    now.innerHTML = html;
    for (const d of now.querySelectorAll('details')) d.open = titles.includes(d.firstElementChild.textContent);
  };
  now.addEventListener('focusout', () => setTimeout(() => waiting !== undefined && show(waiting)));

  const close = () => {
    clearTimeout(timer);
    stream?.close();
    stream = undefined;
  };
  const open = () => {
    close();
    if (over || document.hidden) return; // a browser has few connections to a site, for all its tabs together
    stream = new EventSource(line.dataset.events);
    stream.onopen = () => say(true, 'This panel is live until you sign out.');
    stream.onerror = () => {
      if (over) return;
      say(false, 'The stream is broken. Connecting again…');
      if (stream.readyState === EventSource.CLOSED) timer = setTimeout(open, again);
    };
    stream.addEventListener('panel', e => show(e.data));
    stream.addEventListener('end', e => {
      if (e.data !== 'login_required') return; // the replica ends, for example, and another one takes over
      over = true;
      close();
      say(false, 'You are signed out. Load the page again.');
    });
  };
  document.addEventListener('visibilitychange', () => document.hidden ? close() : open());
  addEventListener('pagehide', close);
  addEventListener('pageshow', open);
})();
