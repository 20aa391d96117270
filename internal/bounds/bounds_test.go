package bounds

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What one machine is given counts as one.
func TestNetworkOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:5":                         "192.0.2.1/32",
		"[::ffff:192.0.2.1]:5":                "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:5":            "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff:ffff:ffff:1]:500": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5":                    "fe80::/64",
		"@":                                   "invalid Prefix",
	} {
		if got := NetworkOf(address).String(); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}

// Nothing of a network is remembered that nobody is at.
func TestCrowdForgets(t *testing.T) {
	c := NewCrowd(10, 2)
	for range 3 {
		for _, address := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"} {
			if refused := c.Enter(NetworkOf(address)); refused != None {
				t.Fatalf("%s: %q", address, refused)
			}
		}
		if c.Enter(NetworkOf("192.0.2.1:3")) != Address {
			t.Error("one too many of an address is let in")
		}
		for _, address := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"} {
			c.Leave(NetworkOf(address))
		}
	}
	if c.all != 0 || len(c.byNetwork) != 0 {
		t.Errorf("%d are counted, of %v", c.all, c.byNetwork)
	}
}
