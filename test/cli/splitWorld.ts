import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { listeningJsonSchema } from '../../src/cli/json/split.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { writeLlamaDirectory } from '../../src/model/weights/writeDirectory.ts'
import { groupedLike, randomSource } from '../model/support.ts'
import { llamaTokenizer } from '../model/weights/tokenizers.ts'
import { recordIo, type RecordedIo } from './io.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-split-'))
export const removeWorld = (): void => rmSync(scratch, { recursive: true, force: true })

/** A path in this test's own folder. */
export const at = (...names: string[]): string => join(scratch, ...names)

const { json, vocabulary } = llamaTokenizer()
const tokenizerJson = json
export const spec: ModelSpec = {
  ...groupedLike,
  vocabulary,
  contextTokens: 64,
  normEpsilon: 1e-5,
  ropeBase: 10_000,
}

function writeModel(name: string, seed: number): string {
  const source = randomSource({ ...spec, id: name }, seed, 4)
  writeLlamaDirectory(at(name), source, { dtype: 'F32', tokenizerJson, stopIds: [2], beginId: 1 })
  return at(name)
}

/** Two models of one shape. */
export const model = writeModel('small', 5)
export const another = writeModel('another', 6)
export const CACHE = ['--cache', at('cache')]
export const PROMPT = ['--prompt', 'the one']
export const NEW = ['--max-new-tokens', '12']

/** One command in this process. */
export function start(argv: readonly string[], overrides: Partial<RecordedIo> = {}) {
  const io = recordIo({ clock: systemClock, ...overrides })
  const code = runCli([...argv], io, COMMANDS, '0.0.0')
  return { io, code }
}

export async function edgewise(...argv: string[]) {
  const { io, code } = start(argv)
  return { code: await code, out: io.out(), err: io.err() }
}

/** A cloud that listens, its address, and how it ends. */
export async function openCloud(...more: string[]) {
  const argv = ['cloud', '--model', model, '--listen', '127.0.0.1:0', ...CACHE, '--json', ...more]
  const { io, code } = start(argv)
  const ended = code.then(() => true)
  while (!io.out().includes('\n') && !(await Promise.race([ended, sleep(10)])));
  const { listening } = listeningJsonSchema.parse(JSON.parse(io.out()))
  const stop = async (): Promise<number> => {
    io.interrupt()
    return code
  }
  return { io, listening, address: `${listening.host}:${listening.port}`, stop }
}
