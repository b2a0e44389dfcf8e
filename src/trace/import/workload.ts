import { InputError, show } from '../../core/errors.ts'
import { nameForeign } from '../../core/foreign.ts'
import { readText } from '../../core/files.ts'
import { parseJson } from '../../core/schema.ts'
import { parseStamp, readDelimited } from '../delimited.ts'
import type { DelimitedTable } from '../delimited.ts'
import type { RecordedRequests } from '../lengths.ts'
import { Column, decimal, emptyError, lineError, linesOf } from '../lines.ts'
import { baseName } from './source.ts'

const MAX_WORKLOAD_BYTES = 512 * 1024 * 1024
const MAX_TOKENS = 1e9
/** English text has about four characters a token in the tokenizers of GPT-2, LLaMA and their like. */
const CHARACTERS_PER_TOKEN = 4

/** A table of requests by the names of its columns; times are stamps, or seconds. */
interface TableForm {
  readonly name: string
  /** null: lengths alone. */
  readonly time: string | null
  readonly isStamp: boolean
  readonly prompt: string
  readonly output: string
}

const TABLES: readonly TableForm[] = [
  {
    name: 'Azure LLM inference trace',
    time: 'TIMESTAMP',
    isStamp: true,
    prompt: 'ContextTokens',
    output: 'GeneratedTokens',
  },
  {
    name: 'BurstGPT',
    time: 'Timestamp',
    isStamp: false,
    prompt: 'Request tokens',
    output: 'Response tokens',
  },
  {
    name: 'Vidur, Sarathi',
    time: 'arrived_at',
    isStamp: false,
    prompt: 'num_prefill_tokens',
    output: 'num_decode_tokens',
  },
  {
    name: 'Vidur, lengths alone',
    time: null,
    isStamp: false,
    prompt: 'num_prefill_tokens',
    output: 'num_decode_tokens',
  },
]

/** Forms of a workload that can be read, for errors and help texts. */
export const WORKLOAD_FORMS =
  'Azure (TIMESTAMP,ContextTokens,GeneratedTokens), BurstGPT, Vidur (arrived_at,num_prefill_tokens,num_decode_tokens), Mooncake (JSON lines), ShareGPT (JSON)'

/**
 * Reads recorded requests: the Azure LLM inference traces of 2023 and 2024 (P. Patel et al., ISCA 2024), BurstGPT (Y.
 * Wang et al., 2024), Vidur and Sarathi (A. Agrawal et al., 2024), Mooncake (R. Qin et al., 2024), ShareGPT.
 * @throws InputError naming file and line
 */
export function readWorkload(path: string): RecordedRequests {
  return parseWorkload(readText(path, MAX_WORKLOAD_BYTES), path)
}

/** readWorkload from text. */
export function parseWorkload(text: string, where: string): RecordedRequests {
  const first = firstCharacter(text)
  const requests = new Requests(where)
  if (first === '[') readConversations(text, requests)
  else if (first === '{') readJsonLines(text, requests)
  else readTable(text, requests)
  return requests.finish()
}

function firstCharacter(text: string): string {
  return /[^\s\ufeff]/.exec(text)?.[0] ?? ''
}

/** Collects requests in order of arrival, and counts those that ask nothing. */
class Requests {
  readonly where: string
  readonly notes: string[] = []
  private readonly arrivals = new Column()
  private readonly prompts = new Column()
  private readonly outputs = new Column()
  private isTimed = true
  private origin = NaN
  private last = -Infinity
  private leftOut = 0

  constructor(where: string) {
    this.where = where
  }

  /** Lengths without times: arrivals have to come from elsewhere. */
  withoutTimes(): void {
    this.isTimed = false
    this.notes.push('has no times of arrival: the lengths are used, and arrivals stay those of the scenario')
  }

  /**
   * Adds a request at whole seconds and a fraction; only the first request's whole seconds are subtracted before both
   * are added, so that stamps since 1970 keep their microseconds.
   */
  add(
    line: number,
    text: string,
    wholeSeconds: number,
    fraction: number,
    prompt: number,
    output: number,
  ): void {
    if (Number.isNaN(this.origin)) this.origin = wholeSeconds
    const seconds = wholeSeconds - this.origin + fraction
    if (!(seconds >= this.last)) {
      throw lineError(this.where, line, 'a time not before the last one', text, 'sort the file by time')
    }
    this.last = seconds
    // A request without a prompt or an answer takes no computation.
    if (prompt === 0 || output === 0) {
      this.leftOut++
      return
    }
    this.arrivals.push(seconds)
    this.prompts.push(prompt)
    this.outputs.push(output)
  }

  finish(): RecordedRequests {
    const count = this.prompts.length
    if (count === 0) throw emptyError(this.where, 'at least one request with a prompt and an answer')
    const name = baseName(this.where)
    if (this.leftOut > 0) {
      const all = count + this.leftOut
      this.notes.push(`${this.leftOut} of ${all} requests have no prompt or no answer and are left out`)
    }
    const arrivals = this.arrivals.toArray()
    return {
      label: `recorded ${name}`,
      arrivalSeconds: this.isTimed ? arrivals.map((seconds) => seconds - arrivals[0]) : null,
      promptTokens: this.prompts.toArray(),
      outputTokens: this.outputs.toArray(),
      notes: this.notes.map((note) => `${name}: ${note}`),
    }
  }
}

function readTable(text: string, requests: Requests): void {
  const { where } = requests
  if (firstCharacter(text) === '') throw notAWorkload(where, 1, 'an empty file')
  const table = readDelimited(text, where, { header: true })
  const form = TABLES.find(({ time, prompt, output }) =>
    [time, prompt, output].every((name) => name === null || table.header?.includes(name) === true),
  )
  if (form === undefined) throw foreignTable(table, text)
  if (form.time === null) requests.withoutTimes()
  const time = form.time === null ? null : table.indexOf(form.time)
  const [prompt, output] = [table.indexOf(form.prompt), table.indexOf(form.output)]
  const numberOf = table.numbersOf([prompt, output])
  for (const { number, cells } of table.rows()) {
    const at = time === null ? ZERO : timeOf(cells[time] ?? '', form.isStamp)
    const [asked, answered] = [numberOf(cells[prompt] ?? ''), numberOf(cells[output] ?? '')]
    if (at === null || !isCount(asked) || !isCount(answered)) {
      const expected = `${form.time === null ? '' : form.isStamp ? 'a time and ' : 'seconds and '}two token counts (${form.name})`
      throw lineError(where, number, expected, cells.join(','))
    }
    requests.add(number, cells.join(','), at.wholeSeconds, at.fraction, asked, answered)
  }
}

const ZERO = { wholeSeconds: 0, fraction: 0 }

function timeOf(cell: string, isStamp: boolean): { wholeSeconds: number; fraction: number } | null {
  if (isStamp) return parseStamp(cell)
  const seconds = decimal(cell)
  return seconds >= 0 && seconds < Infinity ? { wholeSeconds: 0, fraction: seconds } : null
}

const isCount = (tokens: unknown): tokens is number =>
  typeof tokens === 'number' && Number.isInteger(tokens) && tokens >= 0 && tokens <= MAX_TOKENS

/** Mooncake: `{ timestamp (ms), input_length, output_length }` a line. */
function readJsonLines(text: string, requests: Requests): void {
  const { where } = requests
  for (const line of linesOf(text)) {
    const value = objectOf(parseJson(line.text, `${where}:${line.number}`))
    const { timestamp, input_length, output_length } = value
    const isTime = typeof timestamp === 'number' && timestamp >= 0 && Number.isFinite(timestamp)
    if (!isTime || !isCount(input_length) || !isCount(output_length)) {
      if (line.number === 1) throw notAWorkload(where, 1, show(line.text))
      const expected = 'timestamp (ms), input_length and output_length (Mooncake)'
      throw lineError(where, line.number, expected, line.text)
    }
    requests.add(line.number, line.text, 0, timestamp / 1000, input_length, output_length)
  }
}

/** ShareGPT: the first question of each conversation and its answer, as in vLLM's benchmark. */
function readConversations(text: string, requests: Requests): void {
  const { where } = requests
  const list = parseJson(text.replace(/^\ufeff/, ''), where)
  requests.withoutTimes()
  requests.notes.push(`has text, not token counts: ${CHARACTERS_PER_TOKEN} characters are counted as a token`)
  for (const [i, entry] of (list as unknown[]).entries()) {
    const { conversations } = objectOf(entry)
    if (!Array.isArray(conversations)) {
      throw new InputError({
        where: `${where}: ${i}`,
        expected: 'a conversation (ShareGPT), or JSON lines (Mooncake)',
        found: show(JSON.stringify(entry) ?? 'nothing'),
      })
    }
    const turns = conversations.map(objectOf)
    const question = turns.findIndex(({ from }) => from === 'human' || from === 'user')
    const [asked, answer] = [turns[question], turns[question + 1]]
    const isAnswered = question >= 0 && (answer?.from === 'gpt' || answer?.from === 'assistant')
    const [prompt, output] = isAnswered ? [tokensOf(asked.value), tokensOf(answer.value)] : [0, 0]
    requests.add(i + 1, '', 0, 0, prompt, output)
  }
}

const objectOf = (value: unknown): Record<string, unknown> =>
  value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {}

const tokensOf = (text: unknown): number =>
  typeof text === 'string' && text.trim() !== ''
    ? Math.max(1, Math.round(text.length / CHARACTERS_PER_TOKEN))
    : 0

/** What a table of other columns may be. */
function foreignTable({ header, where }: DelimitedTable, text: string): InputError {
  const names = (header ?? []).join(',')
  const foreign = nameForeign(text)
  if (foreign !== null) {
    return new InputError({ where, expected: WORKLOAD_FORMS, found: foreign.what, remedy: foreign.remedy })
  }
  if (/uplink|downlink|bitrate|throughput|bandwidth|rtt_|\bloss\b/i.test(names)) {
    return new InputError({
      where: `${where}:1`,
      expected: `requests: ${WORKLOAD_FORMS}`,
      found: `a recording of a link: ${show(names)}`,
      remedy: 'name it by --links, or under `links` in the scenario',
    })
  }
  return notAWorkload(where, 1, show(names))
}

function notAWorkload(where: string, line: number, found: string): InputError {
  const remedy = found.startsWith('"{')
    ? 'nearest: Mooncake (timestamp, input_length, output_length a line) or a CSV as of Azure'
    : 'nearest: rename the columns as Azure has them, or as Vidur (seconds from the first)'
  return new InputError({ where: `${where}:${line}`, expected: WORKLOAD_FORMS, found, remedy })
}
