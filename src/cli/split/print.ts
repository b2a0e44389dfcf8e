import type { OutputToken } from '../../run/executor/types.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { formatBytes, formatNumber, formatSeconds } from '../../report/numbers.ts'
import { paint } from '../../report/table.ts'
import type { GenerationOutcome, SidePrecisions } from '../../serve/edge/direct.ts'
import type { Io } from '../io.ts'
import { printHint, printJson, printLine } from '../io.ts'
import type { GenerationsJson } from '../json/split.ts'
import { explainRequest } from './explain.ts'
import { generationJson, timingOf, type GenerationJsonOptions } from './generationJson.ts'
import type { RequestBytes } from '../../run/wire/metered.ts'

interface PrintOptions extends GenerationJsonOptions {
  readonly json: boolean
}

/** Shows requests as they go. */
interface Printer {
  onToken(index: number): (token: OutputToken) => void
  onDone(index: number, generation: GenerationOutcome): void
  /** `bytes`: of all requests together, null without a cloud. `failed`: an error message follows. */
  end(generations: readonly GenerationOutcome[], bytes: RequestBytes | null, failed: boolean): void
}

/** What prints the answers of `edgewise edge`: JSON, one answer as it comes, or a list of several. */
export function printerOf(model: PretrainedModel, count: number, options: PrintOptions, io: Io): Printer {
  if (options.json) return jsonPrinter(model, count, options, io)
  return count === 1 ? streamPrinter(model, options, io) : listPrinter(model, options, io)
}

/** One request: its text as it comes. */
function streamPrinter(
  { source, tokenizer, stopIds }: PretrainedModel,
  { explain, precision }: PrintOptions,
  io: Io,
): Printer {
  const stream = tokenizer?.stream() ?? idStream()
  return {
    onToken: () => (token) => {
      // An end-of-text token is no text, whatever it would decode to.
      if (!stopIds.includes(token.id) || tokenizer === null) io.stdout.write(stream.push(token.id))
    },
    onDone: () => {},
    end(generations, bytes) {
      printLine(io, stream.end())
      for (const generation of generations) {
        printHint(io, paint(summary(generation, bytes, precision), 'dim', io))
        const { request, result } = generation
        if (explain && result !== null)
          printLine(io, `\n${explainRequest(source.model, request, result, io)}`)
      }
    },
  }
}

/** Several requests: each text when it is whole, with its number. */
function listPrinter(model: PretrainedModel, { precision }: PrintOptions, io: Io): Printer {
  const { tokenizer, stopIds } = model
  return {
    onToken: () => () => {},
    onDone(index, { tokens, interrupted }) {
      const ids = tokens.map(({ id }) => id)
      const text =
        tokenizer === null ? ids.join(' ') : tokenizer.decode(ids.filter((id) => !stopIds.includes(id)))
      printLine(io, `[${index + 1}] ${text}${interrupted ? ' (interrupted)' : ''}`)
    },
    end(generations, bytes) {
      const tokens = generations.reduce((sum, generation) => sum + generation.tokens.length, 0)
      const spent = bytes === null ? '' : `, ${bytesText(bytes)}`
      printHint(
        io,
        paint(
          `${formatNumber(generations.length)} requests, ${formatNumber(tokens)} tokens, ${precisionText(precision)}${spent}`,
          'dim',
          io,
        ),
      )
    },
  }
}

function jsonPrinter(
  { source, tokenizer }: PretrainedModel,
  count: number,
  options: GenerationJsonOptions,
  io: Io,
): Printer {
  return {
    onToken: () => () => {},
    onDone: () => {},
    end(generations, bytes, failed) {
      if (failed) return
      const json = (generation: GenerationOutcome, own: RequestBytes | null) =>
        generationJson(source.model, tokenizer, generation, own, options)
      if (count === 1) printJson(io, json(generations[0], bytes))
      else {
        const requests = generations.map((generation) => json(generation, null))
        printJson(io, { requests, bytes } satisfies GenerationsJson)
      }
    },
  }
}

function summary(
  generation: GenerationOutcome,
  bytes: RequestBytes | null,
  precision: SidePrecisions,
): string {
  const { tokens, interrupted } = generation
  const { ttftSeconds, tpotSeconds } = timingOf(generation)
  const ties = tokens.filter(({ nearTie }) => nearTie).length
  return [
    `${formatNumber(tokens.length)} tokens`,
    ...(ttftSeconds === null ? [] : [`TTFT ${formatSeconds(ttftSeconds)}`]),
    ...(tpotSeconds === null ? [] : [`TPOT ${formatSeconds(tpotSeconds)}`]),
    `${formatNumber(ties)} near-ties`,
    precisionText(precision),
    ...(bytes === null ? [] : [bytesText(bytes)]),
    ...(interrupted ? ['interrupted'] : []),
  ].join(', ')
}

function precisionText({ edge, cloud }: SidePrecisions): string {
  return cloud === null ? `edge at ${edge}` : `edge at ${edge}, cloud at ${cloud}`
}

function bytesText({ up, down }: RequestBytes): string {
  return `${formatBytes(up)} up, ${formatBytes(down)} down`
}

/** The text of a model without a tokenizer is its ids. */
function idStream(): { push(id: number): string; end(): string } {
  let first = true
  return {
    push(id) {
      const text = first ? String(id) : ` ${id}`
      first = false
      return text
    },
    end: () => '',
  }
}
