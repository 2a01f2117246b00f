package main

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/example/internal/wire"
	"example.com/gatehouse/internal/testkit/opserver"
)

// buildServer makes the embedded server with the people and clients of the story.
func (d *demo) buildServer(own map[string]credentials) error {
	op, err := opserver.New(opserver.Config{
		Issuer: d.serverURL, Now: d.now, Title: "Keyring", Keys: d.keys,
		Hint:  "This is a demonstration: the password is the name.",
		Style: look.ServerStyle(),
		Aside: func(r *http.Request) template.HTML { return d.next(r) + d.rec.Panel(r, nil) },

		Transport: d.rec.Transport("server", d.transport),
	})
	if err != nil {
		return err
	}
	d.op = op
	if err := addPeople(op); err != nil {
		return err
	}
	photos := opserver.Client{ID: own["photos"].id, Secret: own["photos"].secret, Name: "Photoz", HomeURI: d.photosURL + "/albums"}
	shop := opserver.Client{ID: own["shop"].id, Secret: own["shop"].secret, Name: "Inkwell", HomeURI: d.shopURL + "/"}
	if d.signIn == d.serverURL {
		photos.RedirectURIs = []string{d.photosURL + "/auth/callback"}
		photos.PostLogoutRedirectURIs = []string{d.photosURL + "/auth/logout"}
		photos.BackchannelLogoutURI = d.photosURL + "/auth/backchannel-logout" // who signs out here is signed out there
		shop.RedirectURIs = []string{d.shopURL + "/auth/callback"}
		shop.PostLogoutRedirectURIs = []string{d.shopURL + "/auth/logout"}
	} else {
		photos.RedirectURIs = []string{d.photosURL + "/share/callback"}
		provider, err := d.provider("server", d.signIn)
		if err != nil {
			return err
		}
		client := &http.Client{Transport: d.rec.Transport("server", d.transport), Timeout: issuerTime}
		if err := trust(op, provider, d.shopSignIn().id, client); err != nil {
			return err
		}
	}
	return errors.Join(op.AddClient(photos), op.AddClient(shop))
}

// aside makes what stands beside each page.
func (d *demo) aside(r *http.Request) template.HTML { return d.next(r) + d.panel(r) }

// panel makes the part of it that shows messages.
func (d *demo) panel(r *http.Request) template.HTML {
	if d.op == nil {
		return d.rec.Panel(r, nil)
	}
	return d.rec.Panel(r, &wire.Switch{Running: d.servers[0].running(), Action: switchPath})
}

// switchPath is where the form of the button that stops and starts the server
// is sent.
const switchPath = "/demo/server"

// withSwitch adds the button's address to a site.
func (d *demo) withSwitch(site http.Handler) http.Handler {
	if d.op == nil {
		return site
	}
	mux := http.NewServeMux()
	mux.Handle("/", site)
	mux.Handle("POST "+switchPath, http.NewCrossOriginProtection().Handler(http.HandlerFunc(d.toggle)))
	return mux
}

// toggle really closes the server's port, or opens it again. The server keeps
// what it knows.
func (d *demo) toggle(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.PostFormValue("to") {
	case "stopped":
		err = d.servers[0].stop()
		d.story.note("stopped")
	case "running":
		err = d.servers[0].start()
		d.story.note("started")
	default:
		http.Error(w, "The form does not say what to do.", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, "The port cannot be opened.", http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, cameFrom(r), http.StatusSeeOther)
}

// cameFrom is the page of this site that the button was pressed on.
func cameFrom(r *http.Request) string {
	from, err := url.Parse(r.Referer())
	if err != nil || from.Host != r.Host {
		return "/"
	}
	back := from.RequestURI()
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") ||
		strings.HasPrefix(back, "/order/") || strings.HasPrefix(back, "/auth/") { // the answer to a form cannot be requested again
		return "/"
	}
	return back
}

// lookTime is how long the server may take to show that it is running.
const lookTime = time.Second

// reachable returns a party's check that the embedded server is running, before
// it sends a browser there. The check is a request like any other, so the panel
// shows one that fails.
func (d *demo) reachable(party string) func(*http.Request) error {
	if d.signIn != d.serverURL {
		return nil
	}
	client := &http.Client{Transport: d.rec.Transport(party, d.transport), Timeout: lookTime}
	return func(r *http.Request) error {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodHead, d.serverURL+"/.well-known/openid-configuration", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
}
