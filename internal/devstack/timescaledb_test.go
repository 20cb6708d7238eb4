package devstack

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstalledTimescaleIsTheNewestWithTheExtension(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	touch := func(path string) {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if got := installedTimescale(root); got != "" {
		t.Errorf("on an empty machine it is %q", got)
	}
	touch("usr/share/postgresql/14/extension/timescaledb.control") // too old
	touch("usr/lib/postgresql/14/bin/initdb")
	touch("usr/lib/postgresql/18/bin/initdb") // without the extension
	touch("usr/share/postgresql/18/extension/plpgsql.control")
	if got := installedTimescale(root); got != "" {
		t.Errorf("without a usable one it is %q", got)
	}
	touch("usr/share/postgresql/15/extension/timescaledb.control")
	touch("usr/lib/postgresql/15/bin/initdb")
	touch("usr/share/postgresql/17/extension/timescaledb.control")
	touch("usr/lib/postgresql/17/bin/initdb")
	touch("usr/share/postgresql/19/extension/timescaledb.control") // without a server
	if got, want := installedTimescale(root), filepath.Join(root, "usr/lib/postgresql/17/bin"); got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

func TestNotNeededKeepsTheServersLibraries(t *testing.T) {
	t.Parallel()
	for _, name := range strings.Fields(`libc6 libgcc-s1 libstdc++6 libicu76 libssl3t64 libpq5 libxml2 libxslt1.1 liblz4-1
		libzstd1 zlib1g libldap2 libgssapi-krb5-2 libpam0g libsystemd0 libuuid1 libreadline8t64 libtinfo6
		postgresql-17 postgresql-client-17 postgresql-17-timescaledb prometheus`) {
		if notNeeded.MatchString(name) {
			t.Errorf("%s would not be fetched", name)
		}
	}
	for _, name := range strings.Fields(`perl perl-base perl-modules-5.40 libperl5.40 libjson-perl libllvm19 libz3-4 passwd
		locales postgresql-common postgresql-common-dev postgresql-client-common ssl-cert libjs-d3 fonts-glyphicons-halflings`) {
		if !notNeeded.MatchString(name) {
			t.Errorf("%s would be fetched", name)
		}
	}
}

// The folder may lie anywhere, and be moved: wrappers find their loader from
// where they lie, also through a link or by way of PATH.
func TestWrappedProgramsFindTheirLoader(t *testing.T) {
	t.Parallel()
	prefix := filepath.Join(t.TempDir(), "a folder's name")
	libs, bin := filepath.Join(prefix, "usr/lib/test-linux-gnu"), filepath.Join(prefix, "usr/lib/postgresql/17/bin")
	// The loader is a script here, which tells what it was asked to do.
	loader := "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
	if err := errors.Join(
		os.MkdirAll(libs, 0o755), os.MkdirAll(bin, 0o755),
		os.WriteFile(filepath.Join(libs, "ld-linux-test.so.2"), []byte(loader), 0o755),
		os.WriteFile(filepath.Join(bin, "postgres"), []byte("\x7fELF..."), 0o755),
		os.WriteFile(filepath.Join(bin, "script"), []byte("#!/bin/sh\necho script\n"), 0o755),
		wrapBinaries(prefix, bin),
	); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(filepath.Dir(prefix), "moved")
	if err := os.Rename(prefix, moved); err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(moved, "usr/lib/postgresql/17/bin")
	for _, command := range []*exec.Cmd{
		exec.Command(filepath.Join(bin, "postgres"), "--a b", "c"),
		exec.Command("sh", "-c", `PATH="$1:$PATH"; exec postgres "--a b" c`, "sh", bin),
	} {
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSpace(string(out)), "\n")
		want := []string{
			"--argv0", bin + "/postgres", "--library-path", bin + "/../../../test-linux-gnu", bin + "/postgres.bin", "--a b", "c",
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("the loader got %q, want %q", got, want)
		}
	}
	out, err := exec.Command(filepath.Join(bin, "script")).Output()
	if err != nil || string(out) != "script\n" {
		t.Errorf("a script says %q, %v; want to be left as it was", out, err)
	}
}

func TestUnavailableIsOneSentenceWithAWayOut(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // not parallel: a machine without any tool
	err := fetchTimescale(t.Context(), t.TempDir(), nil)
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("error is %v, want ErrUnavailable", err)
	}
	for _, word := range []string{"apt-get", "--database-url", "--brokers", "deploy/compose"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %s", err, word)
		}
	}
	if _, err := StartKafka(t.Context(), KafkaOptions{Cache: t.TempDir()}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("without java the error is %v, want ErrUnavailable with the command that installs it", err)
	}
}
