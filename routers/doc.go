// Package routers tests gatehouse's rules with the routers that people put
// behind them: http.ServeMux, chi and gorilla/mux. Its tests send requests of
// every kind and check that no handler ever runs under a rule other than its
// own.
//
// It is a separate module, so that gatehouse does not require the routers.
package routers
