// Package routers holds gatehouse's rules against the routers that people put
// behind them: http.ServeMux, chi and gorilla/mux. Its tests send requests of
// every kind and look whether a handler ever runs under another rule than its own.
//
// It is a module of its own, so that the routers are no requirements of
// gatehouse.
package routers
