package gatehouse_test

import (
	"errors"
	"fmt"
	"testing"

	"example.com/gatehouse"
)

func TestErrorFaces(t *testing.T) {
	cause := errors.New("the cause")
	e := &gatehouse.Error{Code: "nonce_mismatch", Status: 400, Message: "For the person.", Err: fmt.Errorf("inside: %w", cause)}
	if got := e.Error(); got != "gatehouse: nonce_mismatch: inside: the cause" {
		t.Errorf("Error() %q", got)
	}
	if got := (&gatehouse.Error{Code: "x"}).Error(); got != "gatehouse: x" {
		t.Errorf("Error() without a cause %q", got)
	}
	wrapped := fmt.Errorf("outside: %w", e)
	if !errors.Is(wrapped, &gatehouse.Error{Code: "nonce_mismatch"}) || errors.Is(wrapped, &gatehouse.Error{Code: "other"}) ||
		!errors.Is(wrapped, cause) || errors.Is(wrapped, &gatehouse.Error{}) {
		t.Error("errors.Is does not go by the code")
	}
	if gatehouse.ErrorCode(wrapped) != "nonce_mismatch" || gatehouse.ErrorCode(cause) != "" || gatehouse.ErrorCode(nil) != "" {
		t.Error("ErrorCode does not find the code")
	}
}
