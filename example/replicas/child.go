//go:build unix

package replicas

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
	"example.com/gatehouse/example/photos"
)

const (
	// replicaFlag makes the program a replica. Only the program itself uses it.
	replicaFlag = "-replica"
	// readyLine begins the line that a replica prints when it serves.
	readyLine = "replica listens on "
	// logFile is the open file that a replica logs to.
	logFile = 3
	// drainTime bounds the end of a replica: its requests and what they left behind.
	drainTime = 4 * time.Second
	// permissionTTL is how long the photo site trusts a permission before it
	// asks again, so that a change of mind takes effect at the next click.
	permissionTTL = 2 * time.Second
)

// settings is what a replica has to know.
type settings struct {
	Number                 int
	Addr                   string // of the store
	Base                   string // the origin of the front
	Issuer                 string
	ClientID, ClientSecret string
	PrintShop              string
}

// runReplica is the whole life of a replica: it serves until it is told to end,
// or until the process that started it has gone, and drains.
func runReplica(ctx context.Context, k Kind, in io.Reader, out io.Writer) error {
	line, err := bufio.NewReader(in).ReadBytes('\n')
	if err != nil {
		return errors.New(replicaFlag + " is for the program itself; use -replicas")
	}
	var s settings
	if err := json.Unmarshal(line, &s); err != nil {
		return fmt.Errorf("the settings of the replica: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with this process at the latest
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	store, closeStore, err := k.Open(ctx, s.Addr)
	if err != nil {
		return err
	}
	defer closeStore()
	logger := slog.New(slog.NewTextHandler(os.NewFile(logFile, "log"), &slog.HandlerOptions{Level: slog.LevelWarn}))
	states := &board{}
	provider, site, err := s.build(store, states, logger.With("replica", s.Number))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	stop := serve(l, s.name(states, site), failed, site.EndStreams)
	fmt.Fprintf(out, "%s%s\n", readyLine, l.Addr())
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, done := context.WithTimeout(context.Background(), drainTime)
	defer done()
	return errors.Join(err, stop(drain), gatehouse.Shutdown(drain, site, provider))
}

// build makes the photo site of one replica. Whatever must be the same on all
// replicas is in the store.
func (s settings) build(store Store, states *board, logger *slog.Logger) (*gatehouse.Provider, *photos.Site, error) {
	provider, err := gatehouse.NewProvider(s.Issuer, &gatehouse.ProviderConfig{Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store})
	if err != nil {
		return nil, nil, err
	}
	site, err := photos.New(photos.Config{
		Base: s.Base, Provider: provider, Client: gatehouse.Client{ID: s.ClientID, Secret: gatehouse.NewSecret(s.ClientSecret)},
		Sessions: sessions, Grants: store, ResourceIDs: store, Albums: photos.NewSharedStore(store),
		SharingURL: s.Issuer + "/", InboxURL: s.inbox, PrintShop: s.PrintShop, CacheTTL: permissionTTL,
		Intro: s.intro, Aside: s.aside, Live: &look.Live{Show: s.lamps(states), Changed: states.Changed},
	})
	return provider, site, err
}

func (s settings) inbox(handle string) string {
	return s.Issuer + "/?user=" + url.QueryEscape(handle)
}

// name has every answer say which replica it comes from. With every request the
// front says how all replicas are.
func (s settings) name(states *board, site http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		states.hear(r.Header.Get(statesHeader))
		w.Header().Set(replicaHeader, strconv.Itoa(s.Number))
		site.ServeHTTP(w, r)
	})
}

func (s settings) aside(*http.Request) template.HTML { return panel(s.Number) }

// lamps shows how the replicas are, on a page or in its event stream.
func (s settings) lamps(states *board) func(*http.Request) template.HTML {
	return func(r *http.Request) template.HTML {
		if r.URL.Path == look.EventsPath {
			return lamps(0, s.Number, states.states())
		}
		return lamps(s.Number, 0, states.states())
	}
}

func (s settings) intro(*http.Request) template.HTML {
	return fill(introPage, s)
}
