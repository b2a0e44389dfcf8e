import { Answers, usageOf } from './answers.ts'
import type { Asked, Kind } from './asked.ts'
import { readAsked } from './asked.ts'
import { readJson } from './body.ts'
import type { Desk } from './desk.ts'
import { ApiError, badRequest } from './errors.ts'
import type { Exchange } from './exchange.ts'
import { Generation } from './generation.ts'
import { newName } from './names.ts'
import { MAX_TIMEOUT_SECONDS } from './schemas.ts'

const DEADLINE_HEADER = 'X-Request-Deadline-Seconds'
const KEY_HEADER = 'Idempotency-Key'

/** Answers POST /v1/chat/completions and /v1/completions. Throws what the client is to be told. */
export async function complete(desk: Desk, exchange: Exchange, kind: Kind, principal: string): Promise<void> {
  const leave = desk.enter(exchange, principal)
  try {
    const { backend, tokenizer, chat, random } = desk.options
    const key = keyOf(exchange)
    const headerSeconds = deadlineOf(exchange)
    const body = await readJson(exchange.request, desk.limits.bodyBytes, exchange.signal)
    const asked = readAsked(kind, body, { model: backend.model, tokenizer, chat, random, principal, key })
    exchange.streamed = asked.stream
    exchange.promptTokens = asked.prompt.length
    const named = [headerSeconds, asked.timeoutSeconds].filter((one) => one !== null)
    await answer(desk, exchange, asked, {
      key,
      principal,
      deadline: named.length === 0 ? null : Math.min(...named),
    })
  } finally {
    leave()
  }
}

interface Terms {
  readonly key: string | null
  readonly principal: string
  /** Seconds from the request's arrival. */
  readonly deadline: number | null
}

async function answer(desk: Desk, exchange: Exchange, asked: Asked, terms: Terms): Promise<void> {
  const { clock, random, backend } = desk.options
  const created = Math.floor(Date.parse(clock.wallTime()) / 1000)
  const answers = new Answers(asked.kind, newName(random), created, backend.model, asked.includeUsage)
  const { outlet } = exchange
  const telling = asked.stream ? new Telling(exchange, answers) : null
  const generation = newGeneration(desk, asked, terms, exchange, (text) => telling?.text(text))
  exchange.generation = generation
  exchange.signal.addEventListener('abort', () => generation.abort(exchange.signal.reason as ApiError))
  if (telling !== null) {
    outlet.keepAlive()
    desk.metrics.streams.inc()
  }
  try {
    const finish = await generation.run()
    exchange.finish = finish
    const usage = usageOf(asked.prompt.length, generation.tokens)
    if (telling === null) outlet.json(200, answers.whole(generation.text, finish, usage))
    else telling.end(finish, asked.includeUsage ? usage : null)
  } finally {
    if (telling !== null) desk.metrics.streams.dec()
  }
}

/** A completion as a stream of events. The first text is what opens it: until then a failure still has its status. */
class Telling {
  private opened = false
  private readonly exchange: Exchange
  private readonly answers: Answers

  constructor(exchange: Exchange, answers: Answers) {
    this.exchange = exchange
    this.answers = answers
  }

  text(text: string): void {
    this.open()
    this.exchange.outlet.event(this.answers.piece(text))
  }

  end(finish: 'stop' | 'length', usage: ReturnType<typeof usageOf> | null): void {
    const { outlet } = this.exchange
    this.open()
    outlet.event(this.answers.ending(finish))
    if (usage !== null) outlet.event(this.answers.usage(usage))
    outlet.event('[DONE]')
    outlet.end()
  }

  private open(): void {
    const { opening } = this.answers
    if (!this.opened && opening !== null) this.exchange.outlet.event(opening)
    this.opened = true
  }
}

function newGeneration(
  desk: Desk,
  asked: Asked,
  { key, principal, deadline }: Terms,
  exchange: Exchange,
  onText: (text: string) => void,
): Generation {
  const { backend, tokenizer, clock, timers } = desk.options
  const spent = clock.nowSeconds() - exchange.arrivedSeconds
  const total = Math.min(deadline ?? Infinity, desk.limits.requestSeconds)
  const late = lateError(total)
  if (spent >= total) throw late
  const deadlineSeconds = deadline === null ? null : deadline - spent
  const given = { backend, tokenizer, clock, timers, key, principal, onText, late }
  return new Generation(asked, { ...given, deadlineSeconds, mostSeconds: total - spent })
}

function lateError(seconds: number): ApiError {
  return new ApiError({
    status: 504,
    type: 'timeout_error',
    code: 'deadline_exceeded',
    message: `the request was not done within its ${seconds} s`,
    headers: { 'x-should-retry': 'false' },
  })
}

function keyOf({ request }: Exchange): string | null {
  const key = request.headers[KEY_HEADER.toLowerCase()]
  if (key === undefined) return null
  if (typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key)) return key
  throw badRequest('invalid_value', `${KEY_HEADER}: expected 1 to 255 visible ASCII characters`, KEY_HEADER)
}

function deadlineOf({ request }: Exchange): number | null {
  const text = request.headers[DEADLINE_HEADER.toLowerCase()]
  if (text === undefined) return null
  const seconds = typeof text === 'string' && /^\d{1,6}(\.\d{1,6})?$/.test(text) ? Number(text) : 0
  if (seconds > 0 && seconds <= MAX_TIMEOUT_SECONDS) return seconds
  const expected = `a number of seconds, above 0 and up to ${MAX_TIMEOUT_SECONDS}`
  throw badRequest('invalid_value', `${DEADLINE_HEADER}: expected ${expected}`, DEADLINE_HEADER)
}
