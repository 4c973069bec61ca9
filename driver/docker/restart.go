package docker

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// A daemon that goes down ends its containers, and so does one that starts again and finds some alive. What they exit
// with then is on record as if they had ended by themselves: 143, 137, or 0 where a process obeys TERM in an orderly way. No such
// number says anything about the work that was to be done, so Wait calls the result unknown. Only a Wait that saw the container
// run can tell.

// checkTime bounds the question below.
const checkTime = 10 * time.Second

// fewEvents is how many events a daemon has at most to tell of which has just been started; it keeps the last 256.
const fewEvents = 200

// endedBy says, in words, why the end of a container that was seen to run may be the daemon's doing, or nothing.
func (d *Driver) endedBy(ctx context.Context, e *exit) string {
	switch {
	case e.InspectResponse == nil || phaseOf(e.InspectResponse) != phaseExited:
		return ""
	case e.down:
		return "the Docker daemon was going down, and ends its containers then"
	case e.cut:
		return d.endedByRestart(ctx, e)
	}
	return ""
}

// listening reports whether the daemon takes connections. One that goes down ceases to before it ends its containers.
func (d *Driver) listening(ctx context.Context) bool {
	conn, err := d.api.Dialer()(ctx)
	if err != nil {
		return ctx.Err() != nil
	}
	_ = conn.Close()
	return true
}

// endedByRestart looks at what the daemon tells of a container that ended while there was no connection.
func (d *Driver) endedByRestart(ctx context.Context, e *exit) string {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var past []events.Message
	err := d.patiently(ctx, func() (err error) {
		past, err = d.past(ctx)
		return err
	})
	if err != nil {
		return fmt.Sprintf("the connection to the Docker daemon broke, and it does not tell what happened meanwhile (%v)", err)
	}
	started, died, killed := false, false, false
	for _, m := range past {
		if m.Actor.ID == e.ID {
			started = started || m.Action == events.ActionStart
			died = died || m.Action == events.ActionDie
			killed = killed || m.Action == events.ActionKill
		}
	}
	switch {
	case started && d.listening(ctx):
		return "" // the daemon that started the container is still there: who ended it was not the daemon
	case killed:
		return "the container was told to end while there was no connection to the Docker daemon, as by a restart of the daemon"
	case !died && len(past) < fewEvents:
		return "the Docker daemon was restarted, and did not see it end"
	}
	return ""
}

// past returns the events that the daemon still knows of.
func (d *Driver) past(ctx context.Context) (list []events.Message, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := d.api.Events(ctx, client.EventsListOptions{Since: "1", Until: strconv.FormatInt(time.Now().Unix()+1, 10)})
	for {
		select {
		case m := <-res.Messages:
			list = append(list, m)
		case err := <-res.Err:
			if err == io.EOF { // itself: one that is wrapped is a connection that broke before the answer began
				err = nil
			}
			return list, err
		}
	}
}
