import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { evalJsonSchema } from '../../src/cli/json/eval.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { itShared, sharedPath } from '../shared.ts'
import { recordIo } from './io.ts'
import { writeSmallTraining } from './smallTraining.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-cli-workloads-'))
afterAll(() => rmSync(folder, { recursive: true }))
writeSmallTraining(folder)

async function evaluate(file: string) {
  const io = recordIo()
  const scenario = ['--scenario', join(folder, 'small.scenario.yaml'), '--seeds', '1', '--requests', '5']
  const argv = ['eval', 'edge-only', ...scenario, '--workload', file, '--json']
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, err: io.err(), json: () => evalJsonSchema.parse(JSON.parse(io.out())) }
}

it('eval takes recorded requests of any known form, and says what it left out', async () => {
  const azure = join(folder, 'azure.csv')
  const row = (second: number, output: number) => `2024-05-10 00:00:0${second}+00:00,20,${output}`
  writeFileSync(
    azure,
    ['TIMESTAMP,ContextTokens,GeneratedTokens', row(0, 4), row(1, 0), row(2, 8)].join('\n'),
  )
  const found = await evaluate(azure)
  const note = 'azure.csv: 1 of 3 requests have no prompt or no answer and are left out'
  expect(found.err).toBe(`note: ${note}\n`)
  expect(found.json().notes).toEqual([note])
  writeFileSync(
    join(folder, 'talk'),
    '[{"conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"oh"}]}]',
  )
  expect((await evaluate(join(folder, 'talk'))).err).toMatch(/no times of arrival[^]*4 characters/)
  const link = join(folder, 'link.csv')
  writeFileSync(link, 'time_s,uplink_mbps\n0,1\n')
  expect((await evaluate(link)).err).toMatch(/a recording of a link[^]*--links/)
})

itShared('the field cases', ['cases/workloads'], async () => {
  const cases: [string, RegExp | null][] = [
    ['w1-burstgpt.csv', null],
    ['w2-mooncake.jsonl', null],
    ['w3-azure-2024.csv', /1 of 4 requests/],
    ['w4-azure-quoted.csv', null],
    ['w6-vidur-sarathi.csv', null],
    ['w7-sharegpt.json', /no times of arrival/],
    ['w8-azure-2023-bom-crlf.csv', null],
  ]
  for (const [name, note] of cases) {
    const { code, err } = await evaluate(sharedPath(join('cases/workloads', name)))
    expect(code, err).toBe(0)
    if (note === null) expect(err, name).toBe('')
    else expect(err, name).toMatch(note)
  }
  const unsorted = await evaluate(sharedPath('cases/workloads/w5-azure-unsorted.csv'))
  expect(unsorted.code).toBe(2)
  expect(unsorted.err).toMatch(/w5-azure-unsorted\.csv:3[^]*sort the file/)
})
