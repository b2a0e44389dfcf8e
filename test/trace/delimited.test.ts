import { describe, expect, it } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { isMissing, parseStamp, readDelimited } from '../../src/trace/delimited.ts'
import type { DelimitedOptions } from '../../src/trace/delimited.ts'
import { decodeText } from '../../src/trace/lines.ts'

const cells = (text: string, options?: DelimitedOptions) =>
  [...readDelimited(text, 'x.csv', options).rows()].map((row) => row.cells)
const numbers = (text: string, options?: DelimitedOptions) => {
  const table = readDelimited(text, 'x.csv', options)
  const rows = [...table.rows()]
  const read = table.numbersOf(rows[0].cells.map((_, i) => i))
  return rows.map((row) => row.cells.map(read))
}

describe('the table reader', () => {
  it.each([
    ['comma', 't,r\n0,12.5\n1,13.1\n'],
    ['semicolon and decimal comma', 't;r\n0;12,5\n1;13,1\n'],
    ['tab and decimal comma', 't\tr\n0\t12,5\n1\t13,1'],
    ['pipe', 't|r\n0 | 12.5\n1 | 13.1\n'],
    ['white space of any width', '  t   r\n 0\t12.5\n 1  13.1\n'],
    ['white space and decimal comma', 't r\n0 12,5\n1 13,1\n'],
    ['byte order mark and CRLF', '\ufefft,r\r\n0,12.5\r\n\r\n1,13.1\r\n'],
    ['CR alone', 't,r\r0,12.5\r1,13.1'],
    ['quotes', '"t","r"\n"0","12.5"\n"1","13.1"\n'],
    ['what Excel puts first', 'sep=;\nt;r\n0;12.5\n1;13.1\n'],
    ['comments, and a header that comes again', '# drive 3\nt,r\n0,12.5\nt,r\n# on\n1,13.1\n'],
  ])('finds out: %s', (_, text) => {
    expect(readDelimited(text, 'x').header).toEqual(['t', 'r'])
    expect(numbers(text)).toEqual([
      [0, 12.5],
      [1, 13.1],
    ])
  })

  it('takes a first row of figures for data, also beside a column of words, and obeys what is declared', () => {
    expect(readDelimited('0,10\n1,20\n', 'x').header).toBeNull()
    expect(readDelimited('2024-01-11 10:06:39 eth0\n', 'x', { delimiter: ';' }).header).not.toBeNull()
    expect(cells('eth0,0,10\neth0,1,20\n')).toHaveLength(2)
    expect(cells('0,10\n1,20\n', { header: true })).toEqual([['1', '20']])
  })

  it('keeps empty cells at both ends of a row, and quotes, and reads a file of one line', () => {
    expect(cells('a\tb\tc\n\t1\t\n2\t3\t\n')).toEqual([
      ['', '1', ''],
      ['2', '3', ''],
    ])
    expect(cells('a,b\n"x, ""y""",1\n')).toEqual([['x, "y"', '1']])
    const text = '2020-04-07 12:24:59.000000_62.0,2020-04-07 12:24:59.555000_555.0'
    expect(cells(text, { delimiter: '_', rowDelimiter: ',' })).toEqual([
      ['2020-04-07 12:24:59.000000', '62.0'],
      ['2020-04-07 12:24:59.555000', '555.0'],
    ])
    expect(() => cells('a,b\n"1,2\n')).toThrow(/x.csv:2[^]*quote/)
  })

  it('reads thousands, and refuses a comma that may be either', () => {
    expect(numbers('a;b\n1.234,5;1 000\n2;3\n')).toEqual([
      [1234.5, 1000],
      [2, 3],
    ])
    expect(numbers('a,b\n"1,234.5","12,000"\n2,3\n')[0]).toEqual([1234.5, 12_000])
    expect(numbers("a;b\n1'234'567;0,125\n")[0]).toEqual([1_234_567, 0.125])
    expect(() => numbers('a;b\n1;1,234\n2;2,345\n')).toThrow(/x.csv:2[^]*thousands[^]*declare/)
    expect(numbers('a;b\n1;1,234\n', { decimal: ',' })[0]).toEqual([1, 1.234])
    expect(numbers('a;b\n1;1,234\n', { decimal: '.' })[0]).toEqual([1, 1234])
    expect(() => numbers('a;b\n1;1.5\n1;1,5\n')).toThrow(/one decimal mark/)
  })

  it('names the columns that there are, and a doubled one', () => {
    const table = readDelimited('t,r,r\n0,1,2\n', 'x.csv')
    expect(table.indexOf('t')).toBe(0)
    expect(table.indexOf(3)).toBe(2)
    expect(() => table.indexOf('R')).toThrow(/"R"[^]*t,r,r/)
    expect(() => table.indexOf('r')).toThrow(/one column "r"/)
    expect(() => table.indexOf(4)).toThrow(InputError)
    expect(() => readDelimited('\n\n', 'x.csv')).toThrow(/at least one row/)
    expect(() => readDelimited('1', 'x.csv', { delimiter: 'ab' })).toThrow(/one character/)
  })

  it('is given text from UTF-8 and UTF-16, with or without a byte order mark', () => {
    const little = Buffer.from('t,r\n0,1\n', 'utf16le')
    const big = Buffer.from(little).swap16()
    const mark = Buffer.from([0xff, 0xfe])
    const all = [Buffer.from('\ufefft,r\n0,1\n'), little, big, Buffer.concat([mark, little])]
    expect(new Set([...all, Buffer.concat([mark.swap16(), big])].map(decodeText))).toEqual(
      new Set(['t,r\n0,1\n']),
    )
    expect(decodeText(Buffer.of())).toBe('')
  })

  it('knows what says "not measured", and stamps of any precision', () => {
    expect(['', 'N/A', 'NaN', '-', 'null', '0'].map(isMissing)).toEqual([true, true, true, true, true, false])
    const seconds = (cell: string) => {
      const stamp = parseStamp(cell)
      return stamp === null ? null : [stamp.wholeSeconds, stamp.fraction]
    }
    const at = Date.UTC(2024, 0, 11, 10, 6, 39) / 1000
    expect(seconds('2024-01-11 10:06:39')).toEqual([at, 0])
    expect(seconds('2024.01.11_10.06.39')).toEqual([at, 0])
    expect(seconds('2024/1/11 10:06')).toEqual([at - 39, 0])
    expect(seconds('20240111T100639Z')).toEqual([at, 0])
    expect(seconds('2024-01-11T11:06:39.123456789+01:00')).toEqual([at, 0.123456789])
    expect(seconds('2024-01-11 05:06:39,5-0500')).toEqual([at, 0.5])
    expect(['11/01/2024 10:06:39', '2024-02-30 10:00:00', '10:06:39', '12.5'].map(seconds)).toEqual([
      null,
      null,
      null,
      null,
    ])
  })
})
