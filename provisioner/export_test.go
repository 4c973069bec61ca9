package provisioner

import "time"

// The runtime of these tests shows no task before it is complete.
func init() { settling = 10 * time.Millisecond }
