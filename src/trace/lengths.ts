import { z } from 'zod'
import { InputError } from '../core/errors.ts'
import { readText } from '../core/files.ts'
import type { RandomStream } from '../core/random.ts'
import { readConfig } from '../core/schema.ts'
import { Column, emptyError, lineError, linesOf } from './lines.ts'

/** Recorded requests: arrival (seconds from the first), prompt and output tokens, length n each. */
export interface RecordedRequests {
  readonly label: string
  readonly arrivalSeconds: Float64Array
  readonly promptTokens: Float64Array
  readonly outputTokens: Float64Array
}

const MAX_WORKLOAD_BYTES = 512 * 1024 * 1024
const AZURE_HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens'

/** Reads an Azure LLM inference trace (P. Patel et al., Splitwise, ISCA 2024; Azure/AzurePublicDataset). */
export function readAzureTrace(path: string): RecordedRequests {
  return parseAzureTrace(readText(path, MAX_WORKLOAD_BYTES), path)
}

/**
 * Parses an Azure LLM inference trace.
 * @throws InputError naming the line
 */
export function parseAzureTrace(text: string, where: string): RecordedRequests {
  const columns = [new Column(), new Column(), new Column()]
  let header = true
  let origin = NaN
  for (const line of linesOf(text)) {
    // Comment lines with the provenance, in a workload that `edgewise trace import` wrote.
    if (header && line.text.startsWith('#')) continue
    if (header) {
      if (line.text !== AZURE_HEADER) throw lineError(where, line.number, AZURE_HEADER, line.text)
      header = false
      continue
    }
    const match =
      /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,9})?(?:Z|\+00:00)?,(\d{1,9}),(\d{1,9})$/.exec(line.text)
    // Date.parse has milliseconds only; the fraction is added separately.
    const whole = match === null ? NaN : Date.parse(`${match[1]}T${match[2]}Z`) / 1000
    if (match === null || Number.isNaN(whole)) {
      throw lineError(where, line.number, 'a UTC time and two token counts', line.text)
    }
    if (Number.isNaN(origin)) origin = whole
    const seconds = whole - origin + Number(match[3] ?? 0)
    if (columns[0].length > 0 && seconds < columns[0].last()) {
      throw lineError(
        where,
        line.number,
        'a time not before the last one',
        line.text,
        'sort the file by time',
      )
    }
    // A request without a prompt or an answer takes no computation.
    if (Number(match[4]) === 0 || Number(match[5]) === 0) continue
    columns[0].push(seconds)
    columns[1].push(Number(match[4]))
    columns[2].push(Number(match[5]))
  }
  if (columns[0].length === 0) throw emptyError(where, 'at least one request')
  const [arrivals, promptTokens, outputTokens] = columns.map((column) => column.toArray())
  const arrivalSeconds = arrivals.map((seconds) => seconds - arrivals[0])
  return { label: `recorded ${where.split(/[\\/]/).pop()}`, arrivalSeconds, promptTokens, outputTokens }
}

const logNormal = z.strictObject({
  logMean: z.number(),
  logSd: z.number().min(0),
  min: z.number().int().min(1),
  max: z.number().int().min(1),
})
/** Schema of a length model. */
const lengthModelSchema = z.strictObject({
  schemaVersion: z.literal(1),
  kind: z.literal('synthetic'),
  name: z.string().regex(/^[a-z0-9-]{1,60}$/, 'lower-case letters, digits and dashes'),
  description: z.string(),
  origin: z.strictObject({
    source: z.string(),
    url: z.string(),
    cite: z.string(),
    licence: z.string(),
    used: z.string(),
  }),
  /** Mean and standard deviation of the natural logarithm of the token count. */
  promptTokens: logNormal,
  outputTokens: logNormal,
  /** Correlation of the two logarithms. */
  correlation: z.number().min(-1).max(1),
})

/** Prompt and output lengths, jointly log-normal, fitted to a recording; lengths drawn from it are synthetic. */
type LengthModel = z.infer<typeof lengthModelSchema>

/** Reads a length model from a file. */
export function readLengthModel(path: string): LengthModel {
  return readConfig(lengthModelSchema, path)
}

/** Mean and standard deviation of the logarithms; smallest and largest value. */
export function moments(tokens: Float64Array): { mean: number; sd: number; min: number; max: number } {
  if (tokens.length === 0) throw new InputError({ where: 'lengths', expected: 'at least one', found: 'none' })
  let sum = 0
  let min = Infinity
  let max = 0
  for (const value of tokens) {
    sum += Math.log(value)
    min = Math.min(min, value)
    max = Math.max(max, value)
  }
  const mean = sum / tokens.length
  let squares = 0
  for (const value of tokens) squares += (Math.log(value) - mean) ** 2
  return { mean, sd: Math.sqrt(squares / tokens.length), min, max }
}

/** Source of lengths: pairs drawn from a recording with replacement, or a model. */
export type LengthSource =
  | { readonly kind: 'recorded'; readonly requests: RecordedRequests }
  | { readonly kind: 'synthetic'; readonly model: LengthModel }
  | { readonly kind: 'fixed'; readonly promptTokens: number; readonly outputTokens: number }

/** Draws one pair of lengths before any limit: [prompt, output] tokens. */
export function drawLengths(source: LengthSource, random: RandomStream): [number, number] {
  if (source.kind === 'fixed') return [source.promptTokens, source.outputTokens]
  if (source.kind === 'recorded') {
    const i = random.integer(source.requests.promptTokens.length)
    return [source.requests.promptTokens[i], source.requests.outputTokens[i]]
  }
  const { promptTokens, outputTokens, correlation } = source.model
  const a = random.normal()
  const b = correlation * a + Math.sqrt(1 - correlation * correlation) * random.normal()
  return [tokensOf(promptTokens, a), tokensOf(outputTokens, b)]
}

function tokensOf({ logMean, logSd, min, max }: LengthModel['promptTokens'], deviate: number): number {
  return Math.min(max, Math.max(min, Math.round(Math.exp(logMean + logSd * deviate))))
}
