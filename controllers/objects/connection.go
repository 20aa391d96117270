package objects

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	resource = "rtpstreampauses"

	// A connection attempt that takes longer is made anew: an answer lost on the way
	// must not cost more than the 2 s within which a pause acts again.
	dialTimeout, handshakeTimeout = 2 * time.Second, 3 * time.Second
	// A connection that brings nothing for pingAfter is asked whether it lives, and
	// given up when no answer comes within pingTimeout: half-open connections are
	// noticed long before a watch is silent for too long.
	pingAfter, pingTimeout = 5 * time.Second, 2 * time.Second
	// requestTimeout bounds one page of a list and the beginning of a watch. The API
	// server itself waits up to 3 s for its cache, then asks etcd.
	requestTimeout = 15 * time.Second
)

// connection is the store's own way to the API server, shared with nobody: with
// HTTP/2 its watch and its reads travel on one TCP connection, in order.
type connection struct {
	namespace string
	client    *rest.RESTClient
	idle      interface{ CloseIdleConnections() }
}

func newConnection(config *rest.Config, namespace string) (*connection, error) {
	config = rest.CopyConfig(config)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config.GroupVersion = &v1alpha1.GroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.QPS = -1 // The loop paces itself.
	config.Timeout = 0

	transport, err := newTransport(config)
	if err != nil {
		return nil, err
	}
	wrapped, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, fmt.Errorf("authenticate to the API server: %w", err)
	}
	client, err := rest.RESTClientForConfigAndClient(config, &http.Client{Transport: wrapped})
	if err != nil {
		return nil, fmt.Errorf("prepare requests to the API server: %w", err)
	}
	idle, _ := transport.(interface{ CloseIdleConnections() })

	return &connection{namespace, client, idle}, nil
}

// newTransport is client-go's but for the pings, the time-outs and the sharing.
func newTransport(config *rest.Config) (http.RoundTripper, error) {
	if config.Transport != nil {
		return config.Transport, nil
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("read the API server's certificates: %w", err)
	}
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}

	return &http.Transport{
		Proxy:               proxy,
		DialContext:         dial,
		TLSClientConfig:     tls,
		TLSHandshakeTimeout: handshakeTimeout,
		ForceAttemptHTTP2:   true,
		// The API server's gzip costs both sides more than a cluster's network does.
		DisableCompression: true,
		IdleConnTimeout:    90 * time.Second,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}, nil
}

// close drops connections without requests, so that the next request makes a new
// one.
func (c *connection) close() {
	if c.idle != nil {
		c.idle.CloseIdleConnections()
	}
}

// open sends a request; the library's own repetitions, which wait as long as the
// API server says, are off.
func (c *connection) open(ctx context.Context, parameters map[string]string) (io.ReadCloser, error) {
	request := c.client.Get().Namespace(c.namespace).Resource(resource).MaxRetries(0)
	for name, value := range parameters {
		request = request.Param(name, value)
	}

	return request.Stream(ctx)
}

// read sends a request and returns the whole answer.
func (c *connection) read(ctx context.Context, parameters map[string]string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body, err := c.open(ctx, parameters)
	if err != nil {
		return nil, err
	}
	defer body.Close()

	return io.ReadAll(body)
}
