package reliability

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"example.com/gatehouse/internal/testkit/ports"
)

// A Toxic is a connection that toxiproxy stands in. Its methods are not for
// concurrent use.
type Toxic struct {
	Addr  string
	proxy *toxiproxy.Proxy
}

// newToxic listens on loopback and passes everything on to upstream.
func newToxic(upstream string) (*Toxic, error) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log past the logger that they are given
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	proxy := toxiproxy.NewProxy(server, "store", "127.0.0.1:"+port, upstream)
	if err := proxy.Start(); err != nil {
		return nil, err
	}
	return &Toxic{Addr: proxy.Listen, proxy: proxy}, nil
}

// Add switches a toxic on in the direction of the answers, such as "latency".
func (t *Toxic) Add(kind string, attributes map[string]any) error {
	body, err := json.Marshal(map[string]any{"name": kind, "type": kind, "stream": "downstream", "toxicity": 1.0, "attributes": attributes})
	if err != nil {
		return err
	}
	_, err = t.proxy.Toxics.AddToxicJson(bytes.NewReader(body))
	return err
}

// Remove switches it off.
func (t *Toxic) Remove(ctx context.Context, kind string) error {
	return t.proxy.Toxics.RemoveToxic(ctx, kind)
}

// Down cuts every connection and takes no new one.
func (t *Toxic) Down() { t.proxy.Stop() }

// Up ends Down. Somebody may have got the port for a moment, so it tries again.
func (t *Toxic) Up(ctx context.Context) error {
	for {
		t.proxy.Listen = t.Addr
		err := t.proxy.Start()
		if err == nil || pause(ctx, 50*time.Millisecond) != nil {
			return err
		}
	}
}
