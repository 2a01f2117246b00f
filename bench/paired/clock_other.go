//go:build !unix

package paired

import "time"

// spent is elapsed time, because processor time is not available here.
func spent() time.Duration { return time.Duration(time.Now().UnixNano()) }
