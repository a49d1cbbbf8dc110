// Renders Ollama templates as Ollama does (template/template.go, Execute): JSON cases on stdin, JSON texts on stdout.
// Only the standard library. A template that uses .Messages gets the conversation, any other one turn after the other,
// with everything behind .Response deleted in the last.
package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"strings"
	"text/template"
	"text/template/parse"
)

// The types of Ollama's api/types.go that templates see, with what they print.
type message struct {
	Role, Content string
	ToolCalls     []toolCall
}

type toolCall struct {
	Function struct {
		Name      string
		Arguments arguments
	}
}

type arguments map[string]any

func (a arguments) String() string { return toJSON(a) }

type tool struct {
	Type     string       `json:"type"`
	Function toolFunction `json:"function"`
}

func (t tool) String() string { return toJSON(t) }

type toolFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters"`
}

func (f *toolFunction) String() string { return toJSON(f) }

func toJSON(v any) string {
	b, err := json.Marshal(v)
	check(err)
	return string(b)
}

type testCase struct {
	Template string
	Messages []message
	Tools    []tool
}

func main() {
	var cases []testCase
	check(json.NewDecoder(os.Stdin).Decode(&cases))
	texts := []string{}
	for _, c := range cases {
		texts = append(texts, render(c))
	}
	check(json.NewEncoder(os.Stdout).Encode(texts))
}

func render(c testCase) string {
	t := template.Must(template.New("").Option("missingkey=zero").Funcs(template.FuncMap{"json": toJSON}).Parse(c.Template))
	var out bytes.Buffer
	if strings.Contains(c.Template, ".Messages") {
		var system []string
		for _, m := range c.Messages {
			if m.Role == "system" {
				system = append(system, m.Content)
			}
		}
		check(t.Execute(&out, map[string]any{
			"System": strings.Join(system, "\n\n"), "Messages": c.Messages, "Tools": c.Tools, "Response": "",
		}))
		return out.String()
	}
	empty := map[string]any{"System": "", "Prompt": "", "Response": ""}
	turn := maps.Clone(empty)
	for _, m := range c.Messages {
		done := turn["Response"] != "" || (m.Role == "system" && turn["Prompt"] != "")
		if done && m.Role != "assistant" {
			check(t.Execute(&out, turn))
			turn = maps.Clone(empty)
		}
		switch m.Role {
		case "system":
			turn["System"] = m.Content
		case "user":
			turn["Prompt"] = m.Content
		case "assistant":
			turn["Response"] = m.Content
		}
	}
	cutAfterResponse(t.Tree.Root)
	check(t.Execute(&out, turn))
	return out.String()
}

// cutAfterResponse deletes what follows {{ .Response }} at the top level, where a template of ours has it.
func cutAfterResponse(root *parse.ListNode) {
	for i, node := range root.Nodes {
		if action, ok := node.(*parse.ActionNode); ok && action.String() == "{{.Response}}" {
			root.Nodes = root.Nodes[:i+1]
			return
		}
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
