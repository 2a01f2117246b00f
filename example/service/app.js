// signIn leaves the page for the provider. It is a navigation: a script cannot
// sign anybody in.
function signIn(loginURL) {
  const here = location.pathname + location.search;
  location.assign(loginURL + "?return_to=" + encodeURIComponent(here));
}

// call is fetch for our own API. It sends people to sign in when their session
// has ended.
async function call(address, options) {
  const answer = await fetch(address, options);
  if (answer.status !== 401) return answer;
  const body = await answer.json();
  if (body.login_url) signIn(body.login_url);
  throw new Error(body.message);
}

// Who is signed in? The answer is 200 in both cases.
const session = await (await fetch("/auth/session")).json();
if (!session.signed_in) {
  signIn(session.login_url);
} else {
  document.querySelector("#who").textContent = session.claims.name ?? session.subject;
  await list();
}

async function list() {
  const notes = await (await call("/api/notes")).json();
  document.querySelector("#notes").replaceChildren(...notes.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

document.querySelector("#add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = new FormData(event.target).get("text");
  await call("/api/notes", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text }),
  });
  event.target.reset();
  await list();
});

// Signing out ends the session here at once. The address that comes back goes
// on to the provider, so it is opened as a page.
document.querySelector("#out").addEventListener("click", async () => {
  const answer = await fetch("/auth/logout", { method: "POST" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message);
  location.assign(body.logout_url);
});
