/** Counts what the server does, in Prometheus' text form. */
import type { EngineStats } from "./engine.ts";

export interface Metrics {
  request(route: string, status: number, seconds: number): void;
  /** Seconds from a request's place in the queue to the first of its text. */
  firstToken(seconds: number): void;
  text(stats: EngineStats): string;
}

const bounds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createMetrics(): Metrics {
  const requests = new Map<string, number>();
  const duration = histogram("ftl_request_duration_seconds", "Time of requests, of streams to their first byte.");
  const first = histogram("ftl_first_text_seconds", "Time from a request's place in the queue to its first text.");
  return {
    request(route, status, seconds) {
      const labels = `route="${route}",status="${status}"`;
      requests.set(labels, (requests.get(labels) ?? 0) + 1);
      duration.add(seconds);
    },
    firstToken: (seconds) => first.add(seconds),
    text(stats) {
      const lines = ["# HELP ftl_requests_total Requests answered.", "# TYPE ftl_requests_total counter"];
      for (const [labels, count] of requests) lines.push(`ftl_requests_total{${labels}} ${count}`);
      const numbers: [string, "counter" | "gauge", string, number][] = [
        ["ftl_requests_running", "gauge", "Answers under way.", stats.running],
        ["ftl_requests_waiting", "gauge", "Requests in the queue.", stats.waiting],
        ["ftl_prompt_tokens_total", "counter", "Tokens of prompts.", stats.promptTokens],
        ["ftl_cached_tokens_total", "counter", "Tokens of prompts that were not computed again.", stats.cachedTokens],
        ["ftl_answer_tokens_total", "counter", "Tokens of answers.", stats.answerTokens],
      ];
      for (const [name, type, help, value] of numbers) {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, `${name} ${value}`);
      }
      return [...lines, ...duration.lines(), ...first.lines()].join("\n") + "\n";
    },
  };
}

function histogram(name: string, help: string) {
  const counts = bounds.map(() => 0);
  let sum = 0, count = 0;
  return {
    add(value: number) {
      sum += value;
      count++;
      bounds.forEach((bound, i) => counts[i] += value <= bound ? 1 : 0);
    },
    lines: () => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} histogram`,
      ...bounds.map((bound, i) => `${name}_bucket{le="${bound}"} ${counts[i]}`),
      `${name}_bucket{le="+Inf"} ${count}`,
      `${name}_sum ${sum}`,
      `${name}_count ${count}`,
    ],
  };
}
