package oxd_test

import (
	"fmt"
	"maps"
	"slices"

	"example.com/gatehouse/oxd"
)

// The rules of a service that leaves oxd. They go to UMAProtect as they are, or
// with rules of your own beside them.
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

// What is wrong is told with its place, all at once.
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
