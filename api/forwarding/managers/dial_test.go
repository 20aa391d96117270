package managers

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"
)

// cuttable is a network whose connections can be made half-open: what either side
// writes is taken and never arrives.
type cuttable struct {
	listener *bufconn.Listener
	cut      atomic.Bool
	dials    atomic.Int32
}

type cuttableConn struct {
	net.Conn
	network *cuttable
}

func (n *cuttable) dial(ctx context.Context, _ string) (net.Conn, error) {
	n.dials.Add(1)
	connection, err := n.listener.DialContext(ctx)

	return &cuttableConn{connection, n}, err
}

func (c *cuttableConn) Write(b []byte) (int, error) {
	if c.network.cut.Load() {
		return len(b), nil
	}

	return c.Conn.Write(b)
}

// serve answers on the network as a manager's listener does.
func (n *cuttable) serve() *grpc.Server {
	n.listener = bufconn.Listen(64 << 10)
	server := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	go func() { _ = server.Serve(n.listener) }()

	return server
}

// inDialled runs a test with a connection that is ready.
func inDialled(t *testing.T, test func(t *testing.T, n *cuttable, server *grpc.Server, connection *grpc.ClientConn)) {
	synctest.Test(t, func(t *testing.T) {
		n := &cuttable{}
		server := n.serve()
		connection, err := Dial("192.0.2.1:7300", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(n.dial))
		if err != nil {
			t.Fatal(err)
		}
		connection.Connect()
		synctest.Wait()
		if state := connection.GetState(); state != connectivity.Ready {
			t.Fatalf("the connection is %s, want it ready", state)
		}
		test(t, n, server, connection)
		_ = connection.Close()
		server.Stop()
		synctest.Wait()
	})
}

func TestAnIdleConnectionStays(t *testing.T) {
	inDialled(t, func(t *testing.T, n *cuttable, _ *grpc.Server, connection *grpc.ClientConn) {
		time.Sleep(2 * time.Hour)
		if state := connection.GetState(); state != connectivity.Ready || n.dials.Load() != 1 {
			t.Errorf("after two hours without a call the connection is %s, dialled %d times", state, n.dials.Load())
		}
	})
}

func TestAHalfOpenConnectionIsFoundWithoutACall(t *testing.T) {
	inDialled(t, func(t *testing.T, n *cuttable, _ *grpc.Server, connection *grpc.ClientConn) {
		n.cut.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), pingInterval+pingTimeout+time.Second)
		defer cancel()
		if !connection.WaitForStateChange(ctx, connectivity.Ready) {
			t.Errorf("the connection is still ready %s after it died", pingInterval+pingTimeout)
		}
	})
}

func TestAManagerThatIsBackIsDialledWithinSeconds(t *testing.T) {
	inDialled(t, func(t *testing.T, n *cuttable, server *grpc.Server, connection *grpc.ClientConn) {
		server.Stop()
		for until := time.Now().Add(10 * time.Minute); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
			// As a call does.
			connection.Connect()
		}
		again := n.serve()
		defer again.Stop()
		time.Sleep(redialCeiling * 3 / 2)
		if state := connection.GetState(); state != connectivity.Ready {
			t.Errorf("the connection is %s %s after the manager is back", state, redialCeiling*3/2)
		}
	})
}
