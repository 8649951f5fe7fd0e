// A client of Exeunt on generated code alone: it submits a workflow, watches it to its end whatever breaks meanwhile,
// shows what its exit handlers did, stops another one, and reads what a refusal says.
//
//	EXEUNT_SERVER=HOST:PORT EXEUNT_EXIT_SERVER=HOST:PORT EXEUNT_TOKEN=… ./example
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	exeuntv1 "exeunt.dev/go/exeunt/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const patience = 30 * time.Second // for how long a call is repeated while a service is away

const nightly = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: nightly-}
spec:
  entrypoint: backup
  onExit: tell
  templates:
    - name: backup
      container: {image: debian, command: [sh, -c], args: ["echo saving; sleep 3; echo saved"]}
    - name: tell
      container: {image: debian, command: [echo, "{{workflow.status}}"]}
`

const waiting = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: waiting-}
spec:
  entrypoint: wait
  templates: [{name: wait, suspend: {}}]
`

func main() {
	server := os.Getenv("EXEUNT_SERVER")
	exitServer := os.Getenv("EXEUNT_EXIT_SERVER")
	workflows := exeuntv1.NewWorkflowServiceClient(connect(server))
	exits := exeuntv1.NewExitServiceClient(connect(exitServer))
	ctx := context.Background()
	if token := os.Getenv("EXEUNT_TOKEN"); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}

	// The same request id again gives the same workflow: so whoever does not know whether a call arrived repeats it.
	request := &exeuntv1.SubmitWorkflowRequest{RequestId: rand.Text(), Documents: []*exeuntv1.Document{{Text: nightly}}}
	first := submit(ctx, workflows, request)
	if again := submit(ctx, workflows, request); again.Uid != first.Uid {
		log.Fatalf("a repeat started %s, too", again.Name)
	}
	fmt.Printf("submitted %s\n", first.Name)
	last := watch(ctx, workflows, first.Uid)
	fmt.Printf("%s is %s: %s, its handlers %s\n", last.Name, last.Phase, last.Reason, last.Finalization)
	showExits(ctx, exits, first.Uid)

	second := submit(ctx, workflows, &exeuntv1.SubmitWorkflowRequest{
		RequestId: rand.Text(), Documents: []*exeuntv1.Document{{Text: waiting}},
	})
	// Name and uid have to fit, so this is never another workflow that has taken the name. Somebody else may have
	// changed it: then it is for us to look again, which the revision asks for.
	_, err := stop(ctx, workflows, second, second.Revision+1000)
	refused(err, codes.Aborted)
	if _, err = stop(ctx, workflows, second, 0); err != nil {
		log.Fatal(err)
	}
	last = watch(ctx, workflows, second.Uid)
	fmt.Printf("%s is %s: %s\n", last.Name, last.Phase, last.Message)
	_, err = stop(ctx, workflows, second, 0)
	refused(err, codes.FailedPrecondition)
}

func connect(address string) *grpc.ClientConn {
	connection, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32<<20)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
	)
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

// call repeats what UNAVAILABLE has answered, with the same request, for as long as patience lasts.
func call[Answer any](ctx context.Context, do func(context.Context) (Answer, error)) (Answer, error) {
	ends := time.Now().Add(patience)
	for {
		one, cancel := context.WithTimeout(ctx, 30*time.Second)
		answer, err := do(one)
		cancel()
		if status.Code(err) != codes.Unavailable || time.Now().After(ends) {
			return answer, err
		}
		time.Sleep(pause(err))
	}
}

// pause is how long a service asks to wait.
func pause(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.RetryDelay.AsDuration()
		}
	}
	return 200 * time.Millisecond
}

func submit(ctx context.Context, workflows exeuntv1.WorkflowServiceClient, request *exeuntv1.SubmitWorkflowRequest) *exeuntv1.Workflow {
	answer, err := call(ctx, func(ctx context.Context) (*exeuntv1.SubmitWorkflowResponse, error) {
		return workflows.SubmitWorkflow(ctx, request)
	})
	if err != nil {
		log.Fatal(err)
	}
	return answer.Workflows[0]
}

func stop(ctx context.Context, workflows exeuntv1.WorkflowServiceClient, workflow *exeuntv1.Workflow, revision int64) (*exeuntv1.Workflow, error) {
	request := &exeuntv1.StopWorkflowRequest{
		RequestId: rand.Text(), Name: workflow.Name, Uid: workflow.Uid, Revision: revision,
		By: "example", Message: "not needed any more",
	}
	return call(ctx, func(ctx context.Context) (*exeuntv1.Workflow, error) { return workflows.StopWorkflow(ctx, request) })
}

// watch shows each node as it changes, and gives the workflow as it is at its end. A stream that breaks is opened again
// at the last position: what is known stays, unless `reset` says that it is to be dropped.
func watch(ctx context.Context, workflows exeuntv1.WorkflowServiceClient, uid string) *exeuntv1.Workflow {
	position := ""
	nodes := map[string]string{}
	ends := time.Now().Add(patience)
	for {
		stream, err := workflows.WatchWorkflow(ctx, &exeuntv1.WatchWorkflowRequest{Uid: uid, Position: position})
		for err == nil {
			var change *exeuntv1.WatchWorkflowResponse
			if change, err = stream.Recv(); err != nil {
				break
			}
			ends = time.Now().Add(patience)
			if change.Reset_ {
				fmt.Println("  all of it:")
				clear(nodes)
			}
			show(change.Workflow.Json, nodes)
			position = change.Position
			if change.Final {
				return change.Workflow
			}
		}
		if err != io.EOF && (status.Code(err) != codes.Unavailable || time.Now().After(ends)) {
			log.Fatal(err)
		}
		fmt.Printf("  a break: %s\n", status.Code(err))
		time.Sleep(pause(err))
	}
}

func show(object string, nodes map[string]string) {
	var workflow struct {
		Status struct {
			Nodes map[string]struct{ Name, Phase string }
		}
	}
	if err := json.Unmarshal([]byte(object), &workflow); err != nil {
		log.Fatal(err)
	}
	for id, node := range workflow.Status.Nodes {
		if nodes[id] != node.Phase {
			nodes[id] = node.Phase
			fmt.Printf("  %s %s\n", node.Name, node.Phase)
		}
	}
}

func showExits(ctx context.Context, exits exeuntv1.ExitServiceClient, uid string) {
	for token := ""; ; {
		page, err := call(ctx, func(ctx context.Context) (*exeuntv1.ListExitsResponse, error) {
			return exits.ListExits(ctx, &exeuntv1.ListExitsRequest{Uid: uid, PageToken: token})
		})
		if err != nil {
			log.Fatal(err)
		}
		for _, exit := range page.Exits {
			took := exit.FinishTime.AsTime().Sub(exit.DueTime.AsTime())
			fmt.Printf("handler %s: %s after %d attempts, due to end %s\n", exit.Hook, exit.State, exit.AttemptCount, took)
		}
		if token = page.NextPageToken; token == "" {
			return
		}
	}
}

// refused shows what an error says beside its code.
func refused(err error, expected codes.Code) {
	if status.Code(err) != expected {
		log.Fatalf("%s was expected, not: %v", expected, err)
	}
	fmt.Println(status.Convert(err).Message())
	for _, detail := range status.Convert(err).Details() {
		switch found := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Printf("  %s %s (%s)\n", expected, found.Reason, found.Domain)
		case *errdetails.PreconditionFailure:
			for _, violation := range found.Violations {
				fmt.Printf("  %s: %s\n", violation.Subject, violation.Description)
			}
		case *errdetails.ResourceInfo:
			fmt.Printf("  it is about the %s %s\n", found.ResourceType, found.ResourceName)
		}
	}
}
