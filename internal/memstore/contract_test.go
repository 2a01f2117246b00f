package memstore_test

import (
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/middlewaretest"
)

// The contracts that an application's stores must meet.
func TestGrantsContract(t *testing.T) {
	middlewaretest.TestGrantStore(t, func(*testing.T) gatehouse.GrantStore { return &memstore.Grants{} },
		middlewaretest.StoreCannotHang("it is a map"))
}

func TestIDsContract(t *testing.T) {
	middlewaretest.TestResourceIDs(t, func(*testing.T) gatehouse.ResourceIDs { return &memstore.IDs{} },
		middlewaretest.StoreCannotHang("it is a map"))
}
