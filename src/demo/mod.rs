//! The post office: a real SMTP server where one reads and answers as a recipient.
