package strictjson

import "encoding/json"

// String returns the string that a member holds which [Unmarshal] left raw, ""
// for a value of any other type and for a member that is missing.
func String(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// Strings returns the array of strings that such a member holds, or the single
// string that some servers send instead. For anything else it returns nil.
func Strings(raw json.RawMessage) []string {
	if s := String(raw); s != "" {
		return []string{s}
	}
	var all []string
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}
