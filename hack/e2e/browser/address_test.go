package browser

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// enough packets of media to one browser tell that they go on coming.
const enough = 100

// listening is how programs announce where they listen.
var listening = regexp.MustCompile(`msg=listening what=(\S+) address=(\S+)`)

// startMediaServer starts one more media server, that announces another address, and returns where it listens.
func startMediaServer(t *testing.T, public string, more ...string) (signaling, media string) {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/mediaserver")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary,
		append([]string{"--name=" + t.Name(), "--listen=127.0.0.1:0", "--media-listen=0.0.0.0:0",
			"--metrics-listen=127.0.0.1:0", "--public-address=" + public}, more...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	output, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s (run `make build` first): %v", binary, err)
	}
	read := make(chan struct{})
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		<-read
		_ = command.Wait()
	})
	found := make(chan [2]string, 10)
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if match := listening.FindStringSubmatch(lines.Text()); match != nil {
				found <- [2]string{match[1], match[2]}
			}
		}
	}()
	at := make(map[string]string)
	for len(at) < 3 {
		select {
		case one := <-found:
			at[one[0]] = one[1]
		case <-time.After(deadline):
			t.Fatalf("the media server listens on %v alone after %v", at, deadline)
		}
	}

	return at["signaling"], at["media"]
}

// TestAddressChanges: a NAT gives two browsers other ports, as to a phone that leaves its Wi-Fi. Each gets its media
// there as soon as it has answered a check of the server's, and not before, and sends on.
func TestAddressChanges(t *testing.T) {
	n := newNAT(t, "127.0.0.1")
	signaling, media := startMediaServer(t, n.addr())
	n.serve(media)
	openTab := newBrowser(t)
	var tabs []pageTab
	for _, clientID := range []string{"dave", "erin"} {
		query := url.Values{"channel": {"browser-address"}, "client": {clientID}, "autojoin": {"1"}, "source": {"picture"}}
		p := pageTab{tab: openTab("http://" + signaling + "/?" + query.Encode())}
		eventually(t, clientID+" has joined", func() error {
			if err := evaluate(t, p.tab, "document.body.dataset.connectionId ?? ''", &p.connectionID); err != nil {
				return err
			}
			if p.connectionID == "" {
				return fmt.Errorf("not joined")
			}

			return nil
		})
		tabs = append(tabs, p)
	}
	dave, erin := tabs[0], tabs[1]
	eventually(t, "dave sees erin", dave.moves(t, erin))
	eventually(t, "erin sees dave", erin.moves(t, dave))

	for range 3 {
		n.moves(t)
		eventually(t, "dave sees erin", dave.moves(t, erin))
		eventually(t, "erin sees dave", erin.moves(t, dave))
	}
	if n.onFormerPorts == 0 {
		t.Error("no media ever came to a port before, until a check was answered")
	}
}
