import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { write } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median } from '../src/core/quantile.ts'
import { systemClock } from '../src/core/clock.ts'
import { openAppend } from '../src/core/journal/appendFile.ts'
import { openRequestJournal } from '../src/core/journal/requests.ts'
import { encodeLine } from '../src/core/journal/line.ts'
import { systemTimers } from '../src/core/timers.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

/** Tokens of one block; what is compared takes turns, so that a machine whose speed drifts slows all. */
const TOKENS = 5000
const BLOCKS = 12
const TIME = { clock: systemClock, timers: systemTimers }

/** What a token costs who generates it, and what plain writes of the same lines cost, until all is written. */
export async function run(): Promise<BenchResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-bench-'))
  try {
    return await measure(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measure(folder: string): Promise<BenchResult[]> {
  const journal = await openRequestJournal(join(folder, 'requests'), TIME)
  const file = await openAppend(join(folder, 'append.jsonl'), TIME)
  const plain = openSync(join(folder, 'plain.jsonl'), 'w')
  const ask = {
    key: null,
    principal: 'bench',
    prompt: [1],
    maxNewTokens: TOKENS,
    sampling: {},
    fingerprint: '',
  }
  const lines = Array.from({ length: TOKENS }, (_, i) => encodeLine(tokenRecord(i)))
  const call = { journal: [] as number[], append: [] as number[], sync: [] as number[] }
  const whole = { journal: [] as number[], append: [] as number[], async: [] as number[] }
  for (let block = 0; block < BLOCKS; block++) {
    const request = journal.begin(ask)
    const times = [
      await timed(
        () => everyToken((i) => journal.token(request, i, i)),
        () => journal.flush(),
      ),
      await timed(
        () => everyToken((i) => file.append(tokenRecord(i))),
        () => file.flush(),
      ),
      await timed(() => everyToken((i) => writeSync(plain, lines[i]))),
      await timed(
        () => undefined,
        () => writeInTurn(plain, lines),
      ),
    ]
    journal.end(request, 'length')
    // The first blocks warm the compiler up.
    if (block < BLOCKS / 3) continue
    call.journal.push(times[0].called)
    call.append.push(times[1].called)
    call.sync.push(times[2].called)
    whole.journal.push(times[0].done)
    whole.append.push(times[1].done)
    whole.async.push(times[3].done)
  }
  await journal.close()
  await file.close()
  closeSync(plain)
  const micros = (name: string, values: number[]) => ({
    name,
    value: (1e6 * median(values)) / TOKENS,
    unit: 'us',
  })
  const times = (name: string, a: number[], b: number[]) => ({
    name,
    value: median(a) / median(b),
    unit: 'times',
  })
  return [
    micros('journal: a token, for who generates it', call.journal),
    micros('journal: a record appended', call.append),
    times('journal: a token against a plain fs.writeSync', call.journal, call.sync),
    times('journal: a token synced against a plain fs.write', whole.journal, whole.async),
    times('journal: a record synced against a plain fs.write', whole.append, whole.async),
  ]
}

const tokenRecord = (index: number) => ({ kind: 'token', request: 1, index, id: index })

function everyToken(work: (index: number) => void): void {
  for (let i = 0; i < TOKENS; i++) work(i)
}

/** Seconds until `call` returns, and until `finish` is done, too. */
async function timed(call: () => unknown, finish: () => unknown = () => undefined) {
  const start = systemClock.nowSeconds()
  call()
  const called = systemClock.nowSeconds() - start
  await finish()
  return { called, done: systemClock.nowSeconds() - start }
}

/** Each line by a call of its own, the next when the one before is written. */
function writeInTurn(handle: number, lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = (i: number) => {
      if (i === lines.length) resolve()
      else write(handle, lines[i], (error) => (error === null ? next(i + 1) : reject(error)))
    }
    next(0)
  })
}
