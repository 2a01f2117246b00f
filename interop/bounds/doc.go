// Package bounds measures what one request of a stranger costs a service that
// uses gatehouse, and how much of one answer of a provider it reads. Both have
// limits; [Run] tells which figures are over. Service, provider and all that
// they send are made here, on loopback.
package bounds
