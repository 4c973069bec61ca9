package driver

import "time"

// VolumeID is the handle of a volume, with the same rules as [TaskID].
type VolumeID string

// VolumeSpec describes a volume to be made.
type VolumeSpec struct {
	// Name is unique among the owner's volumes; see [ValidName].
	Name string
	// Labels are stored with the volume and found by [ListOptions]; see [ValidLabels].
	Labels map[string]string
	// Size is how many bytes the volume shall hold at least; 0 leaves it to the
	// runtime. It is a request: runtimes without a notion of size accept it and
	// set no limit, and say so in [Capabilities].VolumeSize.
	Size int64
}

// Volume is a volume as the runtime has it.
type Volume struct {
	ID      VolumeID
	Name    string
	Labels  map[string]string
	Created time.Time
	// Used is how many bytes are in it, or -1 if the runtime does not say
	// ([Capabilities].VolumeUsage).
	Used int64
}
