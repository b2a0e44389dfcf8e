import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { detectFormat, importTraceFile } from '../../src/trace/import/detect.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-foreign-trace-'))
afterAll(() => rmSync(folder, { recursive: true }))

const speedtestCli = '{"download": 92274688.1, "upload": 10485760.2, "ping": 14.3, "server": {"id": "1"}}'
const sabre = '[{"duration_ms": 4000, "bandwidth_kbps": 5000, "latency_ms": 75}]'

describe('what is not a recording that can be read', () => {
  it.each([
    [speedtestCli, /speedtest-cli/, /iperf3 .* or csv/],
    [sabre, /Sabre/, /csv .* or pensieve/],
    ['traceroute to 192.0.2.1 (192.0.2.1), 30 hops max\n', /traceroute/, /ping .* or csv/],
    ['{"log":{"version":"1.2","creator":{}}}', /HAR/, /iperf3/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n', /a workload/, /--column/],
    ['{"timestamp": 0, "input_length": 6758, "output_length": 500}\n', /a workload/, /csv/],
    ['version https://git-lfs.github.com/spec/v1\n', /Git LFS/, /git lfs pull/],
    ['GGUF\x03', /GGUF/, /Hugging Face directory/],
    ['hello world\n', /hello world/, /nearest: .*iperf3 .* or ping/],
    ['rtt 20 ms\n', /rtt 20 ms/, /nearest: .*ping .* or csv/],
    ['1 2 3 4\n', /1 2 3 4/, /nearest: .*csv .* or pensieve/],
    ['', /an empty file/, /./],
  ])('%j is named, with the two nearest formats', (text, found, remedy) => {
    let message = ''
    try {
      detectFormat(text, 'x.txt')
    } catch (error) {
      message = (error as Error).message
    }
    expect(message).toMatch(/^x\.txt/)
    expect(message).toMatch(found)
    expect(message).toMatch(remedy)
  })

  it('a packed or binary file is named before it is read as text', () => {
    const path = join(folder, 'drive.up.gz')
    writeFileSync(path, gzipSync('1\n'))
    expect(() => importTraceFile(path, { origin: 'x', licence: 'x' })).toThrow(/gzip[^]*gunzip/)
    writeFileSync(path, Buffer.from('d4c3b2a102000400', 'hex'))
    expect(() => importTraceFile(path, { origin: 'x', licence: 'x' })).toThrow(/packet capture/)
  })
})
