// Package memstore holds the stores in the memory of one process: values by key,
// owners' grants, ids of resources. It knows when a value expires, and that values
// are compared byte by byte. It must not know what a record, a grant or a resource
// is.
package memstore
