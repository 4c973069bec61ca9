package provisioner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wharfci/wharf/driver"
)

// Labels of what a provisioner makes on the runtime. A value that is longer than a label can be goes on in labels with ".1", ".2" and so on behind
// their name; control characters and "%" are written as in a URL.
const (
	// LabelRole says what it is: one of the roles below.
	LabelRole = "role"
	// LabelWorker is the worker's ID; what the worker makes for its build has it too.
	LabelWorker = "worker"

	// LabelInstance and LabelBuild say which build it is for.
	LabelInstance = "instance"
	LabelBuild    = "build"
	// LabelTask says, by [MarkOf], which task of a worker it is for: one that is asked for again is another task.
	LabelTask = "task"

	labelProject     = "project"
	labelGroup       = "group"
	labelName        = "name"
	labelURL         = "url"
	labelBranch      = "branch"
	labelStage       = "stage"
	labelEnvironment = "environment"
	labelPriority    = "priority"
	labelVolume      = "volume" // the ID of a task's volume
	labelBy          = "by"     // the provisioner that took a slot
	labelLimit       = "limit"  // what a slot counts against
	labelReason      = "reason" // why a worker could not be started
)

// Roles: what [LabelRole] says.
const (
	RoleWorker = "worker" // a task, and its volume
	roleSlot   = "slot"   // a volume that stands for the right to run
	roleNote   = "note"   // a volume whose labels say why a worker could not be started
	// RoleVerdict is a volume that stands for the right to say how a worker's build has ended that cannot say it itself.
	RoleVerdict = "verdict"
)

const maxLabel = 200

// workerID names the worker of a build: the same for the same instance and build, in every provisioner, and readable.
func workerID(instance string, build uint64) string {
	sum := sha256.Sum256([]byte(instance))
	return "build-" + strconv.FormatUint(build, 10) + "-" + hex.EncodeToString(sum[:5])
}

// describe puts a trigger into labels: all of it that is no secret and that people see. What the build needs besides goes to the worker.
func (t *Trigger) describe() map[string]string {
	labels := map[string]string{LabelRole: RoleWorker, LabelWorker: workerID(t.Instance, t.Build), LabelBuild: strconv.FormatUint(t.Build, 10)}
	for key, value := range map[string]string{
		LabelInstance: t.Instance, labelGroup: t.Group, labelName: t.Name, labelURL: t.URL.String(), labelBranch: t.Branch,
		labelStage: t.Stage, labelEnvironment: t.Environment,
	} {
		spread(labels, key, value)
	}
	if t.ProjectID != 0 {
		labels[labelProject] = strconv.FormatUint(t.ProjectID, 10)
	}
	if t.Priority != 0 {
		labels[labelPriority] = strconv.Itoa(t.Priority)
	}
	return labels
}

// VolumeOf returns the volume that a worker's task uses; its results are in [Results] there.
func VolumeOf(t driver.Task) driver.VolumeID { return driver.VolumeID(gather(t.Labels, labelVolume)) }

// WorkerOf returns what a worker's task says of it: its State is Queued, whatever the task's.
func WorkerOf(t driver.Task) Worker {
	w := Worker{
		ID: t.Labels[LabelWorker], State: Queued, Reason: usual[Queued], Created: t.Created, History: []Change{{Queued, t.Created, usual[Queued]}},
		Instance: gather(t.Labels, LabelInstance), URL: gather(t.Labels, labelURL), Branch: gather(t.Labels, labelBranch),
		Stage: gather(t.Labels, labelStage), Environment: gather(t.Labels, labelEnvironment),
		Project: Project{Group: gather(t.Labels, labelGroup), Name: gather(t.Labels, labelName)},
	}
	if w.Stage == "" {
		w.Stage = "ALL"
	}
	w.Build, _ = strconv.ParseUint(t.Labels[LabelBuild], 10, 64) // what someone else has spoilt is 0
	w.Project.ID, _ = strconv.ParseUint(t.Labels[labelProject], 10, 64)
	w.Priority, _ = strconv.Atoi(t.Labels[labelPriority])
	return w
}

// spread puts a value into as many labels as it needs; an empty one needs none.
func spread(labels map[string]string, key, value string) {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(value, "\uFFFD") {
		if r < ' ' || r == 0x7f || r == '%' {
			fmt.Fprintf(&b, "%%%02X", r)
		} else {
			b.WriteRune(r)
		}
	}
	rest := b.String()
	for i := 0; rest != ""; i++ {
		n := min(len(rest), maxLabel)
		for n < len(rest) && !utf8.RuneStart(rest[n]) {
			n--
		}
		name := key
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		labels[name], rest = rest[:n], rest[n:]
	}
}

// gather reads back what spread wrote.
func gather(labels map[string]string, key string) string {
	text := labels[key]
	for i := 1; ; i++ {
		more, there := labels[key+"."+strconv.Itoa(i)]
		if !there {
			break
		}
		text += more
	}
	if value, err := url.PathUnescape(text); err == nil {
		return value
	}
	return text
}
