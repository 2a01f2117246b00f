//go:build !unix

package paired

import "time"

// spent is a time that goes by, where processor time is not to be had.
func spent() time.Duration { return time.Duration(time.Now().UnixNano()) }
