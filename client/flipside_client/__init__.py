"""What a pricing system embeds to know the arm of a product now."""
