package files

// Summary is what became of all files.
type Summary struct {
	Good      bool           `json:"good"` // every line is published
	DryRun    bool           `json:"dry_run"`
	Published int64          `json:"published"` // by this run
	Rejected  int64          `json:"rejected"`  // lines of these files, by earlier runs too
	Passes    int64          `json:"passes"`
	Seconds   float64        `json:"seconds"`
	Files     []*FileSummary `json:"files"`
}

// State is what became of a file.
type State string

// The states.
const (
	StateDone        State = "published"
	StateBefore      State = "already published"
	StateChecked     State = "checked"
	StateInterrupted State = "interrupted"
	StateFailed      State = "failed"
	StateWaits       State = "not begun"
)

// FileSummary is what became of one file.
type FileSummary struct {
	Path  string `json:"path"`
	State State  `json:"state"`
	// Lines counts those that are accounted for, by earlier runs too.
	Lines     int64 `json:"lines"`
	Published int64 `json:"published"` // by this run; by a dry run: good records
	// Found counts records that a run which was killed had published.
	Found          int64            `json:"found"`
	Rejected       int64            `json:"rejected"`
	Before         int64            `json:"published_before"`
	RejectedBefore int64            `json:"rejected_before"`
	RejectFile     string           `json:"reject_file,omitempty"`
	UnknownColumns []string         `json:"unknown_columns,omitempty"`
	Topics         map[string]int64 `json:"topics"` // records by topic, of this run
	Rejections     []Rejection      `json:"rejections,omitempty"`
}

// Rejection is one of the first rejected lines.
type Rejection struct {
	Line    int64  `json:"line"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}
