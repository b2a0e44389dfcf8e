import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { nameForeign, nameForeignFile } from '../../src/core/foreign.ts'
import { parseJson, readConfig } from '../../src/core/schema.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-foreign-'))
afterAll(() => rmSync(folder, { recursive: true }))

const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:11\nsize 9085657\n'
const bytes = (text: string) => Buffer.from(text, 'latin1')
const safetensors = Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 0, 0, 0), bytes('{"a":{"dtype":"F32"')])

describe('files of other kinds', () => {
  it.each([
    ['Git LFS', bytes(LFS)],
    ['GGUF', bytes('GGUF\x03\0\0\0')],
    ['pickle', bytes('\x80\x02}q\0')],
    ['PyTorch', bytes(`PK\x03\x04${'\0'.repeat(26)}archive/data.pkl`)],
    ['zip', bytes('PK\x03\x04xl/')],
    ['gzip', gzipSync('x')],
    ['web page', bytes('\xef\xbb\xbf\n<!DOCTYPE html><html>')],
    ['pcap', bytes('\xd4\xc3\xb2\xa1\x02\0')],
    ['Parquet', bytes('PAR1')],
    ['safetensors', safetensors],
    ['SQLite', bytes('SQLite format 3\0')],
  ])('%s is named, with what to do', (name, head) => {
    const found = nameForeign(head)
    expect(found?.what).toContain(name)
    expect(found?.remedy).not.toBe('')
    const path = join(folder, 'x')
    writeFileSync(path, head)
    expect(nameForeignFile(path)).toEqual(found)
  })

  it.each(['', '{}', '0 1\n', '1\n', 'time_s,rtt_ms\n', '[{"a":1}]', 'PING 1.2.3.4', 'kind: synthetic'])(
    '%j is none of them',
    (text) => expect(nameForeign(text)).toBeNull(),
  )

  it('where JSON or YAML is expected, the pointer of a file is not called a syntax error', () => {
    expect(() => parseJson(LFS, 'tokenizer.json')).toThrow(/tokenizer\.json[^]*Git LFS[^]*git lfs pull/)
    expect(() => parseJson('{', 'x.json')).toThrow(/expected: JSON/)
    const path = join(folder, 'device.yaml')
    writeFileSync(path, LFS)
    expect(() => readConfig(z.object({}), path)).toThrow(/Git LFS/)
  })

  it('a file that cannot be read is left to its reader', () => {
    expect(nameForeignFile(join(folder, 'absent'))).toBeNull()
  })
})
