// Package bounds measures what one request of a stranger costs a service that
// uses gatehouse, and how much of one answer of a provider is read. Both have
// limits; [Run] says which figures exceed them. The service, the provider and
// everything that they send are made here, on loopback.
package bounds
