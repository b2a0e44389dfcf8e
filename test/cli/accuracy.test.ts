import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { accuracyJsonSchema } from '../../src/cli/json/accuracy.ts'
import { EXIT_INTERRUPTED, runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { loadModel } from '../../src/model/catalog.ts'
import { accuracyKind, readAccuracyTable } from '../../src/plan/profile/accuracy.ts'
import { recordIo } from './io.ts'

const absent = !existsSync(resolve(import.meta.dirname, '../../models/tales/config.json'))

// Without the built-in model there is nothing to measure.
describe.skipIf(absent)('edgewise accuracy', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'edgewise-accuracy-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  async function run(args: readonly string[], io = recordIo()) {
    const all = ['accuracy', '--model', 'tales', '--cache', join(folder, 'cache'), ...args]
    const code = await runCli(all, io, COMMANDS, '0.0.0')
    return { code, out: io.out(), err: io.err() }
  }

  test('prints what it promises and writes a table and a figure', async () => {
    const [table, plot] = [join(folder, 'x.accuracy.json'), join(folder, 'x.svg')]
    const { code, out } = await run(['--tokens', '24', '--out', table, '--plot', plot, '--json'])
    expect(code).toBe(0)
    expect(accuracyJsonSchema.parse(JSON.parse(out)).tokens).toBe(24)
    expect(accuracyKind(readAccuracyTable(table, loadModel('tales')))).toBe('measured')
    expect(readFileSync(plot, 'utf8')).toContain('<svg')
  })

  test('says in words what is measured, on a text of the user', async () => {
    const text = join(folder, 'text.txt')
    writeFileSync(text, 'Once there was a proud lion.')
    const { code, out } = await run(['--tokens', '8', '--text', text])
    expect(code).toBe(0)
    for (const part of ['to the head', 'Early exits', 'int4', 'layer 7:']) expect(out).toContain(part)
  })

  test('ends without a file after Ctrl-C', async () => {
    const io = recordIo()
    io.interrupt()
    const table = join(folder, 'stopped.accuracy.json')
    const { code, err } = await run(['--tokens', '24', '--out', table], io)
    expect([code, existsSync(table)]).toEqual([EXIT_INTERRUPTED, false])
    expect(err).toContain('nothing was written')
  })

  test('takes a text or ids, not both', async () => {
    const { code, err } = await run(['--text', 'a', '--ids', 'b'])
    expect(code).toBe(2)
    expect(err).toContain('one of the two')
  })
})
