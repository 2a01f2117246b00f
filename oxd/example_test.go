package oxd_test

import (
	"fmt"
	"maps"
	"slices"

	"example.com/gatehouse/oxd"
)

// These are the rules of a service that moves away from oxd. They go to
// UMAProtect as they are, or together with your own rules.
func ExampleParseProtection() {
	rules, notes, err := oxd.ParseProtection([]byte(`{
		"oxd_id": "6F9619FF-8B86-D011-B42D-00CF4FC964FF",
		"resources": [{
			"path": "/photo",
			"conditions": [
				{"httpMethods": ["GET"], "scopes": ["view"]},
				{"httpMethods": ["PUT", "POST"], "scopes": ["all", "add"], "ticketScopes": ["add"]}
			]
		}]
	}`), oxd.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, pattern := range slices.Sorted(maps.Keys(rules)) {
		fmt.Println(pattern)
	}
	fmt.Println(notes[len(notes)-1])
	// protect := api.UMAProtect(rules)
	// Output:
	// GET /photo
	// POST /photo
	// PUT /photo
	// oxd_id has no effect: the ResourceServer's Client stands for it
}

// All problems are reported at once, each with its place.
func ExampleParseProtection_problems() {
	_, _, err := oxd.ParseProtection([]byte(`[{
		"path": "/photo",
		"conditions": [
			{"httpMethods": ["GET"], "scopes": ["view"]},
			{"httpMethods": ["PUT", "GET"], "scopes": []}
		]
	}]`), oxd.Options{})
	fmt.Println(err)
	// Output:
	// oxd: protection document: [0].conditions[1].scopes: the list is empty
	// [0].conditions[1].httpMethods[1]: GET of this path stands at [0].conditions[0].httpMethods[0] already; to oxd paths were the same whatever their case
}
