import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'
import { writeSmallTraining } from './smallTraining.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-unwritable-'))
const at = (...names: string[]): string => join(root, ...names)
afterAll(() => rmSync(root, { recursive: true, force: true }))

beforeAll(() => {
  writeSmallTraining(root)
  writeFileSync(at('file'), 'x')
  writeFileSync(at('link.csv'), 'time_s,up_mbps,down_mbps,rtt_ms\n0,1,2,30\n1,2,3,30\n2,2,3,30\n')
  writeFileSync(
    at('requests.csv'),
    'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4,10\n',
  )
})

/** Command lines that write below `at('file')`, which is a file: no permission of the user makes that possible. */
const below = at('file', 'x')
const lines: readonly (readonly string[])[] = [
  ['keys', 'init', '--out', below],
  ['train', at('small.train.yaml'), '--out', below],
  ['profile', '--model', 'gpt2', '--quick', '--out', `${below}.profile.json`],
  ['profile', '--model', 'gpt2', '--device', 'raspberry-pi-5', '--out', `${below}.profile.json`],
  ['trace', 'import', at('link.csv'), '--out', `${below}.parquet`, '--origin', 'a test', '--licence', 'none'],
  ['trace', 'import', at('requests.csv'), '--out', `${below}.csv`, '--origin', 'a test', '--licence', 'none'],
  ['accuracy', '--model', 'tales', '--tokens', '64', '--out', `${below}.accuracy.json`],
  ['accuracy', '--model', 'tales', '--tokens', '64', '--plot', `${below}.svg`],
  ['pretrain', '--out', below, '--steps', '1'],
  ['calibrate', '--model', 'tales', '--out', below],
  ['quickstart', '--out', below],
  ['pack', '--model', 'tales', '--out', below],
]

describe('what cannot be written', () => {
  for (const line of lines) {
    const name = line.filter((word) => !word.startsWith(root)).join(' ')
    test(`is refused in words, with exit code 2: ${name}`, async () => {
      const before = readdirSync(root).sort()
      const io = recordIo()
      const code = await runCli(line, io, COMMANDS, '0.0.0')
      expect(io.err()).not.toMatch(/defect|\n {4}at /)
      expect(io.err()).toContain(at('file'))
      expect(code, io.err()).toBe(2)
      expect(readdirSync(root).sort()).toEqual(before)
    })
  }
})

const cli = resolve(import.meta.dirname, '../../dist/cli.js')
const canRun = existsSync(cli) && existsSync('/dev/full')

test.skipIf(!canRun)(
  'a full disk behind standard output is named (needs `npm run build` and /dev/full)',
  () => {
    const full = openSync('/dev/full', 'w')
    const { status, stderr } = spawnSync(process.execPath, [cli, 'models'], {
      stdio: ['ignore', full, 'pipe'],
    })
    expect(String(stderr)).toContain('error: standard output')
    expect(String(stderr)).toContain('no space left on the disk (ENOSPC)')
    expect(status).toBe(2)
  },
)
