// Package memstore has the stores that live in the memory of one process:
// values by key, owners' grants, and ids of resources. It knows when a value
// expires, and it compares values byte by byte. It must not know what a record,
// a grant or a resource is.
package memstore
