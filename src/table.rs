//! Tables as people read and `awk` cuts them: columns, two spaces between, no lines.

use comfy_table::{Table, presets};

use crate::output::printable;

/// The table, each line ended. Cells lose their control characters; an empty cell is a `-`.
pub fn render(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { printable(cell) }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_last_word() {
        let rows = vec![vec!["worker".to_owned(), "4".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(render(&["APP", "DESIRED"], rows), "APP     DESIRED\nworker  4\na       -\n");
    }

    #[test]
    fn a_cell_cannot_move_the_cursor_or_break_its_line() {
        let text = render(&["DETAIL"], vec![vec!["a\u{1b}[2J\nb\tc".to_owned()]]);
        assert_eq!(text, "DETAIL\na\u{fffd}[2J\u{fffd}b\u{fffd}c\n");
    }
}
