// A client on grpc-go, which shares no code with the libraries that the Python clients use. It sends
// the messages that come on standard input, each after its length (4 bytes, big-endian), and prints
// one JSON object: how the call ended, the responses (base64), headers and trailers.
//
// Built against Debian's golang-google-grpc-dev without modules:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o client .
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/ioutil"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// raw passes messages on as they are: what is tested is the wire, not protobuf.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

type outcome struct {
	Code      string      `json:"code"`
	Message   string      `json:"message"`
	Responses [][]byte    `json:"responses"`
	Header    metadata.MD `json:"header"`
	Trailer   metadata.MD `json:"trailer"`
}

func (o *outcome) end(err error) {
	told := status.Convert(err)
	o.Code, o.Message = told.Code().String(), told.Message()
}

func unary(conn *grpc.ClientConn, ctx context.Context, method string, message []byte, options []grpc.CallOption) outcome {
	var found outcome
	var response []byte
	options = append(options, grpc.Header(&found.Header), grpc.Trailer(&found.Trailer))
	err := conn.Invoke(ctx, method, &message, &response, options...)
	if err == nil {
		found.Responses = [][]byte{response}
	}
	found.end(err)
	return found
}

// stream sends every message, closes its side, and reads until the server ends the call. With
// `stopAfter` it cancels the call once it has read as many responses.
func stream(conn *grpc.ClientConn, ctx context.Context, method string, messages [][]byte, stopAfter int, options []grpc.CallOption) outcome {
	var found outcome
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	call, err := conn.NewStream(ctx, both, method, options...)
	if err != nil {
		found.end(err)
		return found
	}
	go func() {
		for i := range messages {
			if call.SendMsg(&messages[i]) != nil {
				return
			}
		}
		call.CloseSend()
	}()
	for {
		var response []byte
		if err = call.RecvMsg(&response); err != nil {
			break
		}
		found.Responses = append(found.Responses, response)
		if len(found.Responses) == stopAfter {
			cancel()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	found.end(err)
	found.Header, _ = call.Header()
	found.Trailer = call.Trailer()
	return found
}

// many sends the messages over and over from `workers` goroutines and returns one outcome of each
// kind: its code, and how often it came as the message.
func many(conn *grpc.ClientConn, ctx context.Context, method string, messages [][]byte, calls, workers int, options []grpc.CallOption) map[string]int {
	counts := map[string]int{}
	var lock sync.Mutex
	var running sync.WaitGroup
	for w := 0; w < workers; w++ {
		running.Add(1)
		go func(first int) {
			defer running.Done()
			for i := first; i < calls; i += workers {
				found := unary(conn, ctx, method, messages[i%len(messages)], options)
				lock.Lock()
				counts[found.Code]++
				lock.Unlock()
			}
		}(w)
	}
	running.Wait()
	return counts
}

func readMessages(from io.Reader) [][]byte {
	var messages [][]byte
	reader := bufio.NewReader(from)
	for {
		var length uint32
		if err := binary.Read(reader, binary.BigEndian, &length); err != nil {
			return messages
		}
		message := make([]byte, length)
		if _, err := io.ReadFull(reader, message); err != nil {
			log.Fatal(err)
		}
		messages = append(messages, message)
	}
}

func credentialsOf(authority string) grpc.DialOption {
	if authority == "" {
		return grpc.WithInsecure()
	}
	pem, err := ioutil.ReadFile(authority)
	if err != nil {
		log.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: trusted, ServerName: "localhost"}))
}

func main() {
	address := flag.String("address", "", "HOST:PORT or unix:/PATH")
	method := flag.String("method", "", "/package.Service/Method")
	mode := flag.String("mode", "unary", "unary, stream, many or idle")
	timeout := flag.Duration("timeout", 30*time.Second, "the call's deadline")
	pairs := flag.String("metadata", "", "key=value,key=value")
	compressed := flag.Bool("gzip", false, "compress requests")
	calls := flag.Int("calls", 1, "of many")
	workers := flag.Int("workers", 1, "of many")
	stopAfter := flag.Int("stop-after", 0, "responses after which a stream is cancelled")
	idle := flag.Duration("idle", 0, "silence with keepalive pings between two calls of idle")
	authority := flag.String("authority", "", "PEM file of the trusted authority; TLS")
	flag.Parse()

	dial := []grpc.DialOption{credentialsOf(*authority), grpc.WithBlock(), grpc.FailOnNonTempDialError(true)}
	if *idle > 0 {
		dial = append(dial, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 5 * time.Second}))
	}
	dialing, cancelDial := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancelDial()
	conn, err := grpc.DialContext(dialing, *address, dial...)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if *pairs != "" {
		var flat []string
		for _, pair := range strings.Split(*pairs, ",") {
			flat = append(flat, strings.SplitN(pair, "=", 2)...)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, flat...)
	}
	options := []grpc.CallOption{grpc.ForceCodec(raw{})}
	if *compressed {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	messages := readMessages(os.Stdin)

	var found interface{}
	switch *mode {
	case "unary":
		found = unary(conn, ctx, *method, messages[0], options)
	case "stream":
		found = stream(conn, ctx, *method, messages, *stopAfter, options)
	case "many":
		found = many(conn, ctx, *method, messages, *calls, *workers, options)
	case "idle":
		// The connection stays open through a stream that is silent but for pings.
		silent, end := context.WithTimeout(ctx, *idle)
		defer end()
		held := stream(conn, silent, *method, messages, 0, options)
		found = map[string]interface{}{"held": held, "ready": conn.GetState() == connectivity.Ready}
	default:
		log.Fatalf("no mode %q", *mode)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}
