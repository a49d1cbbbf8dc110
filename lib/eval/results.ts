/**
 * What an evaluation found, as `ftl eval -o results.json` writes it and a report reads it: plain JSON, every number
 * unrounded, shares from 0 to 1. Field names are those of the file. `format` changes when a field changes its meaning.
 */
import type { Estimate } from "./bootstrap.ts";
import type { SetRole } from "./questions.ts";

export interface EvalResults {
  format: "ftl-eval/1";
  /** Of the program: "0.1.0". */
  version: string;
  /** ISO 8601, when it began. */
  created: string;
  /** False where it was stopped: then answers are missing, and the sums are over those that are there. */
  complete: boolean;
  /** As it was named: run folder, adapter folder or model. */
  asked: string;
  model: {
    name: string;
    parameters: number;
    /** Folder of the adapter; null where the model was asked as it is, and every `tuned` is missing. */
    adapter: string | null;
    engine: string;
    /** How questions became prompts: alpaca, alpaca-short, chat. */
    prompt_style: string;
  };
  settings: { max_new_tokens: number; limit: number; seed: number; resamples: number; confidence: number };
  /** The model that judged, and what it was asked; {question}, {reference} and {answer} stand for each row's. */
  judge: { model: string; prompt: string } | null;
  sets: SetResult[];
}

export type Variant = "base" | "tuned";

export interface SetResult {
  name: string;
  role: SetRole;
  source: string;
  /** By measure; a measure that no row has is missing. */
  scores: Partial<Record<Variant | "change", Scores>>;
  rows: RowResult[];
}

export interface RowResult {
  /** "data/control-20.jsonl:3" */
  place: string;
  question: string;
  reference: string;
  choices?: string[];
  /** Place of the right choice, from 0. */
  right_choice?: number;
  base?: RowAnswer;
  tuned?: RowAnswer;
}

/** One model's answer to one question. What was not measured is missing. */
export interface RowAnswer {
  text?: string;
  /** "length": cut off at max_new_tokens. */
  finish?: "stop" | "length";
  tokens?: number;
  /** Of the reference: sum over its tokens in nats, and their number. */
  loss?: number;
  loss_tokens?: number;
  exact?: number;
  accepted?: number;
  f1?: number;
  rouge_l?: number;
  chrf?: number;
  /** Place of the choice picked by likelihood, and by likelihood per character. */
  choice?: number;
  choice_for_length?: number;
  /** 1 right, 0 wrong, by the judge; null where it said neither, and then why. */
  judged?: number | null;
  judge_said?: string;
}

/** In the order of a report. `loss` is a mean over tokens, perplexity its exponential, the others are means over rows. */
export const measures = [
  { key: "loss", title: "loss", percent: false },
  { key: "perplexity", title: "perplexity", percent: false },
  { key: "exact", title: "exact match", percent: true },
  { key: "accepted", title: "holds the answer", percent: true },
  { key: "f1", title: "token F1", percent: true },
  { key: "rouge_l", title: "ROUGE-L", percent: true },
  { key: "chrf", title: "chrF", percent: true },
  { key: "choice", title: "choice", percent: true },
  { key: "choice_for_length", title: "choice by length", percent: true },
  { key: "judged", title: "judged right", percent: true },
] as const;

export type Measure = typeof measures[number]["key"];
export type Scores = Partial<Record<Measure, Estimate>>;
