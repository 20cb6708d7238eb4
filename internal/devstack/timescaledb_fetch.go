package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// What is fetched: the Apache edition as Debian packages it. The release is
// fixed so that every machine tests against the same server.
const (
	fetchedRelease  = "trixie"
	fetchedPostgres = "17"
	fetchedPackage  = "postgresql-17-timescaledb"
)

// notNeeded matches packages of the dependency closure that a private server
// never loads: Perl and the cluster scripts written in it, accounts and login,
// the JIT's compiler, locale sources, scripts and fonts of web pages. They are two
// thirds of PostgreSQL's size.
var notNeeded = regexp.MustCompile(`^(perl.*|lib.*perl.*|libgdbm.*|libdb5.*|libllvm.*|libz3.*|` +
	`adduser|passwd|base-passwd|login\.defs|libsemanage.*|libsepol.*|libpam-modules.*|libaudit-common|` +
	`debconf|libdebconfclient0|ucf|sensible-utils|init-system-helpers|sysvinit-utils|` +
	`libc-bin|libc-l10n|locales|tzdata|readline-common|gcc-.*-base|netbase|procps|libproc2.*|libncursesw.*|` +
	`openssl|openssl-provider-legacy|ssl-cert|libsasl2-modules-db|libjs-.*|node-.*|fonts-.*|javascript-common|` +
	`postgresql-common.*|postgresql-client-common)$`)

// elsewhere ends an error which says that no database can be fetched here.
const elsewhere = "start one with deploy/compose, or name yours with --database-url and --brokers"

// fetchTimescale fetches PostgreSQL with TimescaleDB into dir.
func fetchTimescale(ctx context.Context, dir string, progress func(Progress)) error {
	bin := filepath.Join("usr/lib/postgresql", fetchedPostgres, "bin")
	return fetchServer(ctx, dir, server{"TimescaleDB", fetchedPackage, bin, "postgres"}, progress)
}

// server is what is fetched: its name for people, its package, the folder of its
// programs below the prefix, and the one that serves.
type server struct{ name, pkg, bin, program string }

// fetchServer downloads a server and every library that it needs, libc
// included, into dir. The machine's packages are neither read nor changed; its
// apt sources say only which mirror to use.
func fetchServer(ctx context.Context, dir string, s server, progress func(Progress)) error {
	for _, tool := range []string{"apt-get", "dpkg-deb", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			return unavailable(s.name + " is fetched with apt-get, dpkg-deb and tar, and this machine has no " + tool + ": " + elsewhere)
		}
	}
	apt, err := newApt(ctx, s, filepath.Join(filepath.Dir(dir), "apt"))
	if err != nil {
		return err
	}
	report(progress, "reading the package lists")
	if _, err := apt.run(ctx, "update", "-q"); err != nil {
		return err
	}
	packages, size, err := apt.closure(ctx)
	if err != nil {
		return err
	}
	if err := apt.download(ctx, packages, size, progress); err != nil {
		return err
	}
	report(progress, "unpacking "+s.name)
	debs, err := filepath.Glob(filepath.Join(apt.debs, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) != len(packages) {
		return fmt.Errorf("downloading %s: %d of %d packages arrived", s.name, len(debs), len(packages))
	}
	for _, deb := range debs {
		if err := unpack(ctx, deb, dir); err != nil {
			return err
		}
	}
	bin := filepath.Join(dir, s.bin)
	if err := wrapBinaries(dir, bin); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, s.program), "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("trying the fetched server: %w: %s", err, lastLines(string(out), 3))
	}
	return nil
}

// apt runs apt-get on lists, a cache and a (empty) package status of its own.
type apt struct {
	server       server
	config, debs string
}

func newApt(ctx context.Context, s server, dir string) (*apt, error) {
	mirror, err := debianMirror(ctx, s.name)
	if err != nil {
		return nil, err
	}
	a := &apt{server: s, config: filepath.Join(dir, "apt.conf"), debs: filepath.Join(dir, "debs")}
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	options := ""
	// Debian's keyring verifies every Debian release; an apt without the file
	// uses the keys that it trusts for everything.
	if keys := "/usr/share/keyrings/debian-archive-keyring.gpg"; fileExists(keys) {
		options = "[signed-by=" + keys + "] "
	}
	sources := "deb " + options + mirror + " " + fetchedRelease + " main\n"
	// The machine's hooks are cleared: they tidy its own cache after an update.
	config := strings.ReplaceAll(`Dir::State "DIR/state";
Dir::State::lists "DIR/state/lists";
Dir::State::status "DIR/status";
Dir::Cache "DIR/cache";
Dir::Etc::sourcelist "DIR/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`, "DIR", dir)
	return a, errors.Join(
		os.WriteFile(filepath.Join(dir, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(sources), 0o644),
		os.WriteFile(a.config, []byte(config), 0o644),
	)
}

// debianMirror returns the mirror of the machine's own apt sources, for a server
// of this name.
func debianMirror(ctx context.Context, name string) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil || !regexp.MustCompile(`(?m)^ID="?debian"?$`).Match(release) {
		return "", unavailable(name + " is fetched from a Debian mirror and this machine is not Debian: " + elsewhere)
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(COMPONENT) $(RELEASE) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt-get for its mirror: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		// "bookworm-updates" and "bookworm-security" may be other archives.
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "main" && !strings.ContainsAny(f[1], "-/") {
			return f[2], nil
		}
	}
	return "", unavailable(name + " is fetched from a Debian mirror and this machine's apt sources name none: " + elsewhere)
}

func (a *apt) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-c", a.config}, args...)...)
	cmd.Dir = a.debs
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	// apt passes SIGINT on to its downloaders; SIGKILL would leave them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	runtime.LockOSThread() // as in startProcess
	defer runtime.UnlockOSThread()
	isolate(cmd, account{}, os.Kill)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("fetching %s: apt-get %s: %w: %s", a.server.name, args[0], err, lastLines(problems.String(), 2))
	}
	return out.Bytes(), nil
}

// closure returns the names of the packages to download and their size in bytes.
func (a *apt) closure(ctx context.Context) (packages []string, size int64, err error) {
	out, err := a.run(ctx, "install", "-qq", "-y", "--no-install-recommends", "--print-uris", a.server.pkg)
	if err != nil {
		return nil, 0, err
	}
	for line := range strings.Lines(string(out)) {
		// 'http://…/name_version_arch.deb' name_version_arch.deb 12345 SHA256:…
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		name, _, _ := strings.Cut(f[1], "_")
		if notNeeded.MatchString(name) {
			continue
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("reading apt-get's list of packages: %w", err)
		}
		packages = append(packages, name)
		size += n
	}
	if len(packages) == 0 {
		return nil, 0, errors.New("apt-get lists no package for " + a.server.pkg)
	}
	return packages, size, nil
}

func (a *apt) download(ctx context.Context, packages []string, size int64, progress func(Progress)) error {
	step := "downloading " + a.server.name
	done := make(chan error, 1)
	go func() {
		_, err := a.run(ctx, append([]string{"download", "-q"}, packages...)...)
		done <- err
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil && progress != nil {
				progress(Progress{Step: step, Done: size, Total: size})
			}
			return err
		case <-tick.C:
			if progress != nil {
				progress(Progress{Step: step, Done: min(size, sizeOf(a.debs)), Total: size})
			}
		}
	}
}

// sizeOf adds up the files in dir; those that vanish meanwhile count nothing.
func sizeOf(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var size int64
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
	}
	return size
}

// unpack puts the files of one package below dir.
func unpack(ctx context.Context, deb, dir string) error {
	var readProblems, writeProblems bytes.Buffer
	read := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	write := exec.CommandContext(ctx, "tar", "-x", "-p", "--no-same-owner", "-C", dir, "-f", "-",
		"--exclude=./usr/share/doc", "--exclude=./usr/share/man", "--exclude=./usr/share/locale", "--exclude=*/bitcode")
	read.Stderr, write.Stderr = &readProblems, &writeProblems
	pipe, err := read.StdoutPipe()
	if err != nil {
		return err
	}
	write.Stdin = pipe
	runtime.LockOSThread() // as in startProcess
	defer runtime.UnlockOSThread()
	isolate(read, account{}, os.Kill)
	isolate(write, account{}, os.Kill)
	if err := read.Start(); err != nil {
		return err
	}
	if err := errors.Join(write.Run(), read.Wait()); err != nil {
		return fmt.Errorf("unpacking %s: %w: %s", filepath.Base(deb), err, lastLines(readProblems.String()+writeProblems.String(), 2))
	}
	return nil
}

// wrapBinaries renames every program X in bin to X.bin and puts a shell script
// X in its place, which runs it with the loader and the libraries of prefix
// instead of the machine's. The prefix may be moved as a whole.
//
// --argv0 lets PostgreSQL find share/ and lib/ beside itself; --library-path,
// unlike LD_LIBRARY_PATH, is not inherited by the programs which it starts.
func wrapBinaries(prefix, bin string) error {
	loaders, err := filepath.Glob(filepath.Join(prefix, "usr/lib/*-linux-gnu*/ld-linux*.so.*"))
	if err != nil {
		return err
	}
	if len(loaders) != 1 {
		return fmt.Errorf("unpacking the server: found %d loaders in its libc, want 1", len(loaders))
	}
	libs, err := filepath.Rel(bin, filepath.Dir(loaders[0]))
	if err != nil {
		return err
	}
	script := `#!/bin/sh
case $0 in */*) self=$0 ;; *) self=$(command -v -- "$0") ;; esac
B=$(cd "${self%/*}" && pwd -P)
L=$B/` + libs + `
exec "$L/` + filepath.Base(loaders[0]) + `" --argv0 "$B/NAME" --library-path "$L" "$B/NAME.bin" "$@"
`
	entries, err := os.ReadDir(bin)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(bin, entry.Name())
		if elf, err := isELF(path); err != nil {
			return err
		} else if !elf {
			continue
		}
		if err := os.Rename(path, path+".bin"); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(script, "NAME", entry.Name())), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil { // whatever the umask is
			return err
		}
	}
	return nil
}

func isELF(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // a link to something outside
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return false, nil //nolint:nilerr // too short to be a program
	}
	return string(magic[:]) == "\x7fELF", nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
