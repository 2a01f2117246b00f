package strictjson

import "encoding/json"

// String returns the string in a member that [Unmarshal] left raw. It returns
// "" for a value of another type or a missing member.
func String(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// Single returns the element of an array that is one string alone, and any other
// value as it is.
func Single(raw json.RawMessage) json.RawMessage {
	var all []json.RawMessage
	if json.Unmarshal(raw, &all) == nil && len(all) == 1 && String(all[0]) != "" {
		return all[0]
	}
	return raw
}

// Strings returns the array of strings in such a member, or the single string
// that some servers send instead. For anything else it returns nil.
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
