import { EdgewiseError } from '../../core/errors.ts'
import type { EdgeExecutor } from '../../run/executor/edge.ts'
import { ExecutionError } from '../../run/executor/errors.ts'
import { resolvedPlanToJson } from '../../run/executor/messages.ts'
import type { OutputToken, GenerationRequest, RequestOutput } from '../../run/executor/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { TextTokenizer } from '../../model/tokenizers/types.ts'
import type { GenerationJson } from '../json/split.ts'
import type { RequestBytes } from './meter.ts'

/** One request, whole or as far as it came. */
export interface GenerationOutcome {
  readonly request: GenerationRequest
  readonly tokens: readonly OutputToken[]
  /** Null where it did not come to its end. */
  readonly result: RequestOutput | null
  readonly interrupted: boolean
}

export interface GenerateOptions {
  readonly signal: AbortSignal
  readonly explain: boolean
  readonly onToken: (token: OutputToken) => void
}

/**
 * Carries a request out. An abort ends it with what it has; every other failure is thrown, the tokens so far went to
 * `onToken`.
 */
export async function generateOne(
  executor: EdgeExecutor,
  request: GenerationRequest,
  { signal, explain, onToken }: GenerateOptions,
): Promise<GenerationOutcome> {
  const tokens: OutputToken[] = []
  try {
    const result = await executor.generate(request, {
      signal,
      explain,
      onToken: (token) => {
        // A request that waits for no message hears of an abort here alone.
        if (signal.aborted) throw new ExecutionError('E_CANCELLED', 'the request was cancelled')
        tokens.push(token)
        onToken(token)
      },
    })
    return { request, tokens: result.tokens, result, interrupted: false }
  } catch (error) {
    if (!signal.aborted || !(error instanceof EdgewiseError)) throw error
    return { request, tokens, result: null, interrupted: true }
  }
}

/** Latencies of a request; null for what there is not. */
export function timingOf({ tokens, result }: GenerationOutcome): GenerationJson['timing'] {
  if (result === null || tokens.length === 0)
    return { ttftSeconds: null, tpotSeconds: null, endToEndSeconds: null }
  const ttftSeconds = tokens[0].atSeconds - result.dispatchSeconds
  const endToEndSeconds = tokens[tokens.length - 1].atSeconds - result.dispatchSeconds
  const further = tokens.length - 1
  const tpotSeconds = further === 0 ? null : (endToEndSeconds - ttftSeconds) / further
  return { ttftSeconds, tpotSeconds, endToEndSeconds }
}

export function generationJson(
  model: ModelSpec,
  tokenizer: TextTokenizer | null,
  generation: GenerationOutcome,
  bytes: RequestBytes | null,
  explain: boolean,
): GenerationJson {
  const { request, tokens, result, interrupted } = generation
  const ids = tokens.map(({ id }) => id)
  const stopped = request.stopIds.includes(ids.at(-1) ?? -1)
  const origin = result?.dispatchSeconds ?? 0
  return {
    tokens: ids,
    text: tokenizer === null ? null : tokenizer.decode(ids),
    end: interrupted ? 'interrupted' : stopped ? 'stop' : 'length',
    timing: timingOf(generation),
    nearTies: tokens.filter(({ nearTie }) => nearTie).length,
    bytes,
    plan: resolvedPlanToJson(model, request),
    ...(explain && result !== null ? { events: result.events.map((event) => since(origin, event)) } : {}),
  }
}

function since(origin: number, event: RequestOutput['events'][number]): RequestOutput['events'][number] {
  const { askedSeconds, startSeconds, endSeconds } = event
  return {
    ...event,
    askedSeconds: askedSeconds - origin,
    startSeconds: startSeconds - origin,
    endSeconds: endSeconds - origin,
  }
}
