package devstack

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// account is who a server runs as.
type account struct {
	// other says that uid and gid are not our own. The zero value is our own
	// account.
	other    bool
	uid, gid uint32
	name     string
}

// serverAccount returns the account for a PostgreSQL server, which refuses to
// run as root: our own, or for root that of postgres, or of nobody.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return account{other: true, uid: uint32(uid), gid: uint32(gid), name: name}, nil
	}
	return account{}, unavailable("PostgreSQL refuses to run as root and this machine has neither an account postgres nor nobody; " +
		"run as another user, or use --database-url")
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// mayEnter checks that the account can reach path through the folders above it.
func (a account) mayEnter(path string) error {
	if !a.other {
		return nil
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("the server runs as %s, which may not enter %s: use a folder outside it", a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
