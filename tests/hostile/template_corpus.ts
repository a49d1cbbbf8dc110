/** Chat templates as programs that do harm: each ends in a refusal, or in a text that shows that nothing came of it. */
import type { Row } from "./corpus.ts";

const most = /takes more steps, or writes more, than any chat template needs|more than \d+ characters/;
const doubled = (what: string, grow: string, use: string) =>
  `{% set ns = namespace(x=${what}) %}{% for i in range(60) %}{% set ns.x = ${grow} %}{% endfor %}${use}`;
/** "a" 2^16 times. */
const long = "{% set ns = namespace(x='a') %}{% for i in range(16) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
const often = (what: string) => `${long}{% for i in range(99999) %}${what}{% endfor %}`;
const tooDeep = /nested too deep, or calls itself without end|levels deep|takes more steps/;

/** Templates by what they try, and what is said of them: "read" where they render to something harmless. */
const templates: [what: string, template: string, says: RegExp][] = [
  // Loops without end
  ["loops within loops", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", most],
  ["a range in every turn", "{% for i in range(99999) %}{% set x = range(99999) %}{% endfor %}", most],
  ["a range of 10^9", "{% for i in range(1000000000) %}x{% endfor %}", /range\(\) of 1000000000 numbers/],
  ["a range without end", "{{ range(0, 10, 0) }}", /range\(\)/],
  ["a range of lists", doubled("[1]", "[ns.x, ns.x]", "{{ range(ns.x) }}"), most],
  ["a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", tooDeep],
  ["a macro that calls itself twice", "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", tooDeep],
  [
    "two macros that call each other",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    tooDeep,
  ],
  [
    "a caller that calls its caller",
    "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
    tooDeep,
  ],
  [
    "a macro that grows as a tree",
    "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    most,
  ],
  [
    "a large macro defined again and again",
    `{% for i in range(99999) %}{% macro f() %}${"{{ a }}".repeat(20_000)}{% endmacro %}{% endfor %}`,
    most,
  ],
  // Growth
  ["a text that doubles itself", doubled("'ab'", "ns.x ~ ns.x", ""), most],
  ["a text that is filled between all its characters", doubled("'ab'", "ns.x.replace('', 'x')", ""), most],
  ["a text that is added to itself", doubled("'ab'", "ns.x + ns.x", ""), most],
  ["a list that doubles itself", doubled("[1]", "ns.x + ns.x", ""), most],
  ["a list of itself twice, as JSON", doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson }}"), most],
  ["a list of itself twice, printed", doubled("[1]", "[ns.x, ns.x]", "{{ ns.x }}"), most],
  ["a list of itself twice, compared with a text", doubled("[1]", "[ns.x, ns.x]", "{{ ns.x == 'a' }}"), most],
  ["a list of itself twice, as a refusal", doubled("[1]", "[ns.x, ns.x]", "{{ raise_exception(ns.x) }}"), most],
  ["a mapping of itself twice", doubled("{}", "{'a': ns.x, 'b': ns.x}", "{{ ns.x | tojson }}"), most],
  [
    "namespaces in namespaces",
    doubled("1", "namespace(a=ns.x, b=ns.x)", "{{ ns.x | string }}"),
    /takes more steps|more than \d+ characters|Unknown|Cannot/,
  ],
  ["a namespace in itself", "{% set ns = namespace(x=1) %}{% set ns.x = [ns, ns] %}{{ ns | tojson }}", tooDeep],
  [
    "a list nested 90,000 deep",
    "{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    tooDeep,
  ],
  ["replacing every letter by the text", `${long}{{ ns.x.replace('a', ns.x) }}`, most],
  ["the same by a filter", `${long}{{ ns.x | replace('a', ns.x) }}`, most],
  ["the same by arguments in a list", `${long}{{ ns.x.replace(*['a', ns.x]) }}`, most],
  ["the same by a method that was kept", `${long}{% set f = ns.x.replace %}{{ f('', ns.x) }}`, most],
  ["the same by a block", `${long}{% filter replace('a', ns.x) %}{{ ns.x }}{% endfilter %}`, most],
  ["joining letters by the text", `${long}{{ ns.x | join(ns.x) }}`, most],
  ["indenting by 10^9", "{{ 'a\\nb' | indent(1000000000) }}", most],
  ["indenting by infinity", "{{ 'a\\nb' | indent(10 ** 308 * 10) }}", most],
  ["JSON indented by 10^9", "{{ [1] | tojson(indent=1000000000) }}", most],
  ["cutting a text into letters, again and again", often("{% set y = ns.x.split('') %}"), most],
  ["cutting a text at its letters", often("{% set y = ns.x.split('a') %}"), most],
  ["taking a text apart", often("{% set y = ns.x[::-1] %}"), most],
  ["comparing a text", often("{% if ns.x == ns.x ~ 'b' %}{% endif %}"), most],
  ["looking for a text", often("{% if ns.x ~ 'b' in ns.x %}{% endif %}"), most],
  ["sorting texts", often("{% set y = [ns.x, ns.x ~ 'b', ns.x ~ 'c'] | sort %}"), most],
  ["writing in capitals", often("{{ ns.x | upper }}"), most],
  ["testing a text", often("{% if ns.x is lower %}{% endif %}"), most],
  // What is outside
  ...[
    "''.constructor",
    "''.__class__",
    "[].__proto__",
    "{}.__proto__",
    "messages.constructor",
    "messages[0].__proto__",
    "messages.__class__.__mro__",
    "range.constructor",
    "range.__globals__",
    "raise_exception.constructor",
    "namespace.call",
    "loop.constructor",
    "globalThis",
    "Deno",
    "process",
    "self",
    "self.__init__",
    "lipsum",
    "cycler",
    "joiner",
    "config",
    "messages[0]['constructor']",
    "messages[0]['__proto__']['x']",
    "(1).constructor",
    "true.valueOf",
    "none.constructor",
  ].map((path): [string, string, RegExp] => [
    `reaching for ${path}`,
    `{% if ${path} %}{{ raise_exception('it is there') }}{% endif %}`,
    /^read$/,
  ]),
  [
    "running code",
    "{{ range.constructor('return Deno')() }}",
    /Cannot call something that is not a function/,
  ],
  [
    "CVE-2024-34359",
    "{% for c in [].__class__.__base__.__subclasses__() %}{{ c.__init__.__globals__['os'].popen('id').read() }}{% endfor %}",
    /Cannot/,
  ],
  ["writing into a message", "{% set messages[0].role = 'x' %}", /cannot assign attribute on non-namespace object/],
  [
    "writing into __proto__",
    "{% set ns = namespace() %}{% set ns.__proto__ = ns %}{% if {}.ns or messages[0].ns %}{{ raise_exception('x') }}{% endif %}",
    /^read$/,
  ],
  ["reading a file", "{% include '/etc/passwd' %}", /cannot be rendered/],
  ["importing", "{% import 'os' as os %}{{ os }}", /cannot be rendered/],
  // Not a template
  [
    "its own refusal",
    "{{ raise_exception('roles must\nalternate') }}",
    /refuses the conversation: roles must alternate/,
  ],
  ["a block left open", "{% for m in messages %}x", /cannot be rendered/],
  ["an expression left open", "{{ 'a", /cannot be rendered/],
  ["an unknown filter", "{{ messages | nonsense }}", /cannot be rendered/],
  ["10,000 brackets", "{{ " + "(".repeat(10_000) + "1" + ")".repeat(10_000) + " }}", tooDeep],
  ["10,000 minus signs", "{{ " + "- ".repeat(10_000) + "1 }}", /cannot be rendered/],
  ["10,000 blocks in blocks", "{% if 1 %}".repeat(10_000) + "{% endif %}".repeat(10_000), tooDeep],
  ["a million blanks", " ".repeat(200_000), /1000 blanks in a row/],
  ["two million characters", "x".repeat(2_000_000), /2000000 characters long/],
  ["a control sequence", "{{ \u001b[2J }}", /Unexpected character: \\u001b/],
];

export const templateRows: Row[] = templates.map(([what, template, says]) => ({
  reader: "chat template",
  class: what,
  bytes: () => new TextEncoder().encode(template),
  says,
}));
